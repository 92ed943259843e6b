import type { ConfigMaps } from "./config-maps.ts";

export interface PointerWatch {
  readonly maps: ConfigMaps;
  /** Of the pointer's object. */
  readonly name: string;
  /** Reads the pointer and tells whom it concerns. @returns the resourceVersion that it had */
  readonly look: () => Promise<string>;
  readonly signal: AbortSignal;
  readonly random: (length: number) => Buffer;
  readonly sleep: (ms: number) => Promise<unknown>;
}

const LEAST_PAUSE_MS = 250;
const MOST_PAUSE_MS = 8000;

/**
 * Watches the pointer until the signal fires. An event only says that it is time to look: what is in it may be old by now.
 * After any interruption, and where the API server has forgotten what happened since (410), it is looked at again, and
 * watched from there on: so no change goes unseen, whatever happens to the watch.
 */
export async function watchPointer({ maps, name, look, signal, random, sleep }: PointerWatch): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      let from = await look();
      let ended: "ended" | "expired" = "ended";
      while (!signal.aborted && ended === "ended") {
        ended = await maps.watch(name, from, signal, async (type, metadata) => {
          failures = 0;
          const { resourceVersion } = (metadata ?? {}) as { resourceVersion?: unknown };
          if (typeof resourceVersion === "string") from = resourceVersion;
          if (type !== "BOOKMARK") await look();
        });
        // An API server that ends every watch at once is not asked without a pause.
        await sleep(LEAST_PAUSE_MS);
      }
    } catch {
      // Whoever asks for the pointer itself is told why it can't be read.
      failures++;
    }
    const pause = Math.min(LEAST_PAUSE_MS * 2 ** failures, MOST_PAUSE_MS);
    if (!signal.aborted) await sleep(pause * (0.5 + random(1).readUInt8() / 510));
  }
}
