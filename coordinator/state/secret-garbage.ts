import { Refusal } from "../../api/refusal.ts";
import type { Store } from "../../store/store.ts";

/** How long what was sealed may wait for an annex that names it, in milliseconds. */
const KEPT_MS = 3_600_000;

/**
 * So much of one owner may wait at one Coordinator: no owner can fill the store, nor keep the others out. With values of
 * 64 KiB it is 4 MiB.
 */
const MOST_OF_ONE = 64;

/** What was sealed a short while ago, and was in no annex since: its owner is about to have it named. */
export class RecentlySealed {
  /** By SHA-256 of the record, hex, the oldest first. */
  readonly #waiting = new Map<string, { readonly owner: string; readonly at: number }>();

  /** @param now of a clock that nobody sets, in milliseconds, as below @throws Refusal `too_many_pending` */
  requireRoom(owner: string, now: number): void {
    const waiting = [...this.#kept(now).values()].filter((one) => one.owner === owner).length;
    if (waiting < MOST_OF_ONE) return;
    throw new Refusal("too_many_pending", "too many secrets were sealed that no annex names", {
      where: `the workload owner ${owner}`,
      got: `${waiting} ciphertexts`,
      want: `fewer than ${MOST_OF_ONE}`,
      hint: "those that no annex names within an hour are given up: try again later",
    });
  }

  add(sealed: string, owner: string, now: number): void {
    this.#waiting.set(sealed, { owner, at: now });
  }

  /** What an annex in force names waits no more. */
  named(all: Iterable<string>): void {
    for (const sealed of all) this.#waiting.delete(sealed);
  }

  waiting(now: number): ReadonlySet<string> {
    return new Set(this.#kept(now).keys());
  }

  #kept(now: number) {
    for (const [sealed, { at }] of this.#waiting) if (now - at > KEPT_MS) this.#waiting.delete(sealed);
    return this.#waiting;
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
