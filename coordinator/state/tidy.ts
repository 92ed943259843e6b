import type { Store } from "../../store/store.ts";
import type { Roots } from "./roots.ts";
import type { StateGuard } from "./state-guard.ts";

export interface Tidying {
  readonly guard: Pick<StateGuard, "phase" | "active" | "onChange" | "removeSecrets">;
  readonly store: Store;
  readonly roots: Roots;
  /** Told of what was removed, and of a sweep that failed. Neither is anything to act on: the next one comes. */
  readonly onSwept: (removed: number) => void;
  readonly onFailure: (error: unknown) => void;
  /** From one sweep to the next, in milliseconds. */
  readonly everyMs: number;
}

/**
 * Has the store remove what nothing names: after every change of what is in force, and now and then. Only who has a
 * manifest in force does it, by the pointer that it serves; several may at once. A store that leaves that is relieved of
 * secrets alone: what an owner removed is to be gone.
 *
 * @returns what ends it
 */
export function keepTidy({ guard, store, roots, onSwept, onFailure, everyMs }: Tidying): () => void {
  let running: Promise<void> | undefined;
  const run = async (): Promise<void> => {
    if (guard.phase !== "active") return;
    try {
      const latest = guard.active().latest.raw;
      const removed = store.sweep?.(latest, await roots.namedBy(latest)) ?? guard.removeSecrets(roots);
      onSwept(await removed);
    } catch (error) {
      onFailure(error);
    }
  };
  const start = (): void => {
    running ??= run().finally(() => (running = undefined));
  };
  const timer = setInterval(start, everyMs).unref();
  const stopListening = guard.onChange(start);
  return () => {
    clearInterval(timer);
    stopListening();
  };
}
