import type { ConfigMaps } from "./config-maps.ts";

export interface PointerWatch {
  readonly maps: ConfigMaps;
  /** Of the pointer's object. */
  readonly name: string;
  /** Reads the pointer and tells whom it concerns. */
  readonly look: () => Promise<void>;
  readonly signal: AbortSignal;
  readonly random: (length: number) => Buffer;
  readonly sleep: (ms: number) => Promise<unknown>;
}

const LEAST_PAUSE_MS = 250;
const MOST_PAUSE_MS = 8000;

/**
 * Watches the pointer until the signal fires. An event only says that it is time to look: what is in it may be old by now.
 * Each watch begins with the object as it is, and it is looked at before, too. So no change goes unseen, whatever happens
 * to a watch: where it ends, breaks, is refused, or the API server has forgotten what happened meanwhile (410).
 */
export async function watchPointer({ maps, name, look, signal, random, sleep }: PointerWatch): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await look();
      await maps.watch(name, signal, async () => {
        failures = 0;
        await look();
      });
    } catch {
      // Whoever asks for the pointer itself is told why it can't be read.
      failures++;
    }
    // Also after an end without a failure: an API server may end every watch at once.
    const pause = Math.min(LEAST_PAUSE_MS * 2 ** failures, MOST_PAUSE_MS);
    if (!signal.aborted) await sleep(pause * (0.5 + random(1).readUInt8() / 510));
  }
}
