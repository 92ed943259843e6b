import type { Named } from "../store.ts";
import type { ConfigMaps, Precondition } from "./config-maps.ts";
import type { Objects } from "./objects.ts";

export interface Sweep {
  readonly maps: ConfigMaps;
  readonly objects: Objects;
  /** Milliseconds of a clock that only goes forward. */
  readonly monotonic: () => number;
  /** How long a record has to be named by nothing and written by nobody, in milliseconds. */
  readonly leastAgeMs: number;
}

interface Unnamed {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly since: number;
}

/**
 * Removes what is named by nothing: what sets that failed or crashed have left, and consents to changes that nobody can
 * make any more.
 *
 * A set on another Coordinator may be about to name such a record. So, before anything is removed, the pointer's object is
 * written, on the condition that it is as it was when the pointer was read; and each record is removed on the condition
 * that it is as it was then. A set reads the pointer's object before it puts its records, which writes those that are
 * there; it moves the pointer on the condition that the object is still the same, and if it is not, writes its records
 * again first. So either the set was before and is seen here, or a record that it needs is not removed, or the set fails.
 * No clock is asked for that. The age only keeps sets from having to write twice.
 */
export class Sweeper {
  readonly #sweep: Sweep;
  #unnamed = new Map<string, Unnamed>();

  constructor(sweep: Sweep) {
    this.#sweep = sweep;
  }

  /**
   * @param resourceVersion of the pointer's object, with the pointer by which `named` was found out
   * @returns how many objects were removed
   */
  async run(resourceVersion: string, named: Named): Promise<number> {
    const { maps, objects, monotonic, leastAgeMs } = this.#sweep;
    const now = monotonic();
    const unnamed = new Map<string, Unnamed>();
    const due = new Map<string, { readonly name: string; readonly precondition: Precondition }[]>();
    for (const { name, uid, resourceVersion } of await maps.list(objects.selector())) {
      const record = objects.parseName(name);
      if (record === undefined || named[record.kind].has(record.digest)) continue;
      const before = this.#unnamed.get(name);
      const isSame = before?.uid === uid && before.resourceVersion === resourceVersion;
      const since = isSame ? before.since : now;
      unnamed.set(name, { uid, resourceVersion, since });
      if (now - since < leastAgeMs) continue;
      const key = `${record.kind}/${record.digest}`;
      const parts = due.get(key) ?? [];
      const object = { name, precondition: { uid, resourceVersion } };
      // The first part goes first: without it, there is no record that lacks others.
      due.set(key, record.part === 0 ? [object, ...parts] : [...parts, object]);
    }
    this.#unnamed = unnamed;
    if (due.size === 0 || !(await maps.touchIf(objects.latest, resourceVersion))) return 0;
    let removed = 0;
    for (const parts of due.values()) {
      for (const { name, precondition } of parts) {
        // Somebody has put it again, or has removed it.
        if (!(await maps.remove(name, precondition))) break;
        removed++;
      }
    }
    return removed;
  }
}
