import { setTimeout as delay } from "node:timers/promises";
import { backoff } from "../../runtime/backoff.ts";
import { type CodedError, describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { isTransient, requestedWait } from "../persist.ts";
import { VolumeError } from "./error.ts";
import type { Volume } from "./volume.ts";

export interface Patience {
  readonly log: Logger;
  /** Fires when the program is told to stop. */
  readonly stop: AbortSignal;
  /** Fires when the time for it is over; then it gives up. */
  readonly timeUp: AbortSignal;
  /** Of 0 to 1. */
  readonly random: () => number;
}

/** Between two tries, at most, in milliseconds: an owner who allows to format does not wait long. */
const MOST_MS = 15_000;

/**
 * Tries until the volume is mounted. What an owner or time may change is waited for, and said once.
 *
 * @returns false where it was told to stop before
 * @throws what stood in the way last, when time is up; what can't be waited for, at once
 */
export async function bringUpPatiently(
  volume: Pick<Volume, "bringUp">,
  { log, stop, timeUp, random }: Patience,
): Promise<boolean> {
  let told: string | undefined;
  for (let failures = 1; !stop.aborted; failures++) {
    try {
      await volume.bringUp();
      return true;
    } catch (error) {
      if (!mayWait(error) || timeUp.aborted) throw error;
      const text = describeError(error);
      if (text !== told) log.warn({ code: error.code }, `waiting: ${text}`);
      told = text;
      const ms = requestedWait(error) + backoff(failures, random(), 500, MOST_MS);
      await delay(ms, undefined, { signal: AbortSignal.any([stop, timeUp]) }).catch(() => undefined);
    }
  }
  return false;
}

function mayWait(error: unknown): error is CodedError {
  return error instanceof VolumeError ? error.isAboutDisk : isTransient(error);
}
