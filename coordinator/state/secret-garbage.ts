import type { Store } from "../../store/store.ts";

/** How long what was sealed may wait for an annex that names it, in milliseconds. */
const KEPT_MS = 3_600_000;

/** What was sealed a short while ago: its owner is about to name it. */
export class RecentlySealed {
  /** By SHA-256 of the record, hex, the oldest first. */
  readonly #at = new Map<string, number>();

  /** @param now of a clock that nobody sets, in milliseconds, as below */
  add(sealed: string, now: number): void {
    this.#at.set(sealed, now);
  }

  since(now: number): ReadonlySet<string> {
    for (const [sealed, at] of this.#at) if (now - at > KEPT_MS) this.#at.delete(sealed);
    return new Set(this.#at.keys());
  }
}

/** @returns how many ciphertexts were removed */
export async function removeUnnamed(
  store: Pick<Store, "list" | "remove">,
  named: ReadonlySet<string>,
  recent: ReadonlySet<string>,
): Promise<number> {
  const unnamed = (await store.list("secrets")).filter((sealed) => !named.has(sealed) && !recent.has(sealed));
  for (const sealed of unnamed) await store.remove("secrets", sealed);
  return unnamed.length;
}
