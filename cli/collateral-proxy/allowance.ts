/**
 * How often somebody may ask: as many at once as in a minute, and then as many in each minute (a token bucket). Sources
 * that have all of theirs are forgotten, so that not more are kept than asked in the last minute.
 */
export class Allowance {
  readonly #perMinute: number;
  readonly #now: () => number;
  /** What is left of each, and when that was; in the order of their last request. */
  readonly #sources = new Map<string, { left: number; at: number }>();

  /** @param now milliseconds */
  constructor(perMinute: number, now: () => number) {
    this.#perMinute = perMinute;
    this.#now = now;
  }

  /** Takes one where there is one. */
  take(source: string): boolean {
    const at = this.#now();
    this.#forget(at);
    const { left = this.#perMinute, at: before = at } = this.#sources.get(source) ?? {};
    const now = Math.min(this.#perMinute, left + (Math.max(0, at - before) / 60_000) * this.#perMinute);
    const isAllowed = now >= 1;
    this.#sources.delete(source);
    this.#sources.set(source, { left: isAllowed ? now - 1 : now, at });
    return isAllowed;
  }

  #forget(now: number): void {
    for (const [source, { at }] of this.#sources) {
      if (now - at < 60_000 && this.#sources.size < MOST_SOURCES) return;
      this.#sources.delete(source);
    }
  }
}

const MOST_SOURCES = 10_000;
