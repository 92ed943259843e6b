import { backoff } from "../../runtime/backoff.ts";
import { EvidenceError } from "../error.ts";

/** Chance and time, which a program has and a library has not. */
export interface Waiting {
  /** Of 0 to 1, for the jitter. */
  readonly random: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
}

/** With the delays, between two and four seconds in all: a peer waits for the evidence meanwhile. */
const TRIES = 8;
const FIRST_MS = 50;
const MOST_MS = 1000;

/** Tries again while the TEE is busy. @throws EvidenceError tee_busy at last, and whatever else `attempt` throws */
export async function whileBusy<T>(attempt: () => Promise<T>, { random, sleep }: Waiting): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof EvidenceError) || error.code !== "tee_busy" || failures === TRIES) throw error;
    }
    await sleep(backoff(failures, random(), FIRST_MS, MOST_MS));
  }
}
