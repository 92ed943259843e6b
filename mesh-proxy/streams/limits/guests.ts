/** Who is in, by source, and who has to go where somebody else is to come in. */
export interface Guest {
  /** Whether it waits for its peer to do something: it has not been let through yet. */
  readonly isPending: boolean;
  /** When it came, in milliseconds of the clock. */
  readonly since: number;
  /** Ends it, and gives its place free at once. */
  readonly displace: () => void;
}

/** A peer that takes no longer than this to do something is not displaced by another one of its source. */
const PATIENCE_MS = 1_000;

export class Guests {
  readonly #sources = new Map<string, Set<Guest>>();

  add(source: string, guest: Guest): void {
    const known = this.#sources.get(source);
    if (known === undefined) this.#sources.set(source, new Set([guest]));
    else known.add(guest);
  }

  remove(source: string, guest: Guest): void {
    const known = this.#sources.get(source);
    if (known?.delete(guest) === true && known.size === 0) this.#sources.delete(source);
  }

  /** How many of a source are in. */
  of(source: string): number {
    return this.#sources.get(source)?.size ?? 0;
  }

  /**
   * Where there is no place for anybody: one of the source that has most, if that has more than the newcomer's would have.
   * The one that is pending for longest, and else the last one that was let through.
   */
  ofLargest(newcomer: string): Guest | undefined {
    let largest = new Set<Guest>();
    for (const guests of this.#sources.values()) if (guests.size > largest.size) largest = guests;
    if (largest.size <= this.of(newcomer) + 1) return undefined;
    let last: Guest | undefined;
    for (const guest of largest) {
      if (guest.isPending) return guest;
      last = guest;
    }
    return last;
  }

  /** Where there is no place for the source: that of its guests which is pending for longest, if it had its time. */
  slowestOf(source: string, now: number): Guest | undefined {
    for (const guest of this.#sources.get(source) ?? []) {
      if (guest.isPending) return now - guest.since >= PATIENCE_MS ? guest : undefined;
    }
    return undefined;
  }
}
