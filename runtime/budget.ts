/**
 * How many bytes strangers can make this process hold, in all and each source of them. Whatever is kept for a peer is
 * taken from here before it is kept: a buffer, the state of a connection, what a decoder makes of a message. Where there
 * is not enough left, the peer is refused, and the process goes on for all others.
 *
 * No clock is in here: whoever reserves sees to it that he gives back.
 */
export interface BudgetLimits {
  /** Bytes. */
  readonly total: number;
  readonly perSource: number;
}

/** Bytes that are taken for one peer. */
export interface Reservation {
  readonly bytes: number;
  /**
   * Takes more or gives some back.
   *
   * @returns false where there is not enough left; then nothing has changed
   */
  resize(bytes: number): boolean;
  /** Gives everything back. Calling it again does nothing. */
  release(): void;
}

/** No source has half of anything: two of them, together with a third, still leave room for others. */
const SOURCES = 4;

export function budgetLimits(total: number): BudgetLimits {
  return { total, perSource: Math.floor(total / SOURCES) };
}

export class Budget {
  readonly limits: BudgetLimits;
  readonly #sources = new Map<string, number>();
  #used = 0;

  constructor(limits: BudgetLimits) {
    this.limits = limits;
  }

  /** Bytes that are taken now. */
  get used(): number {
    return this.#used;
  }

  usedBy(source: string): number {
    return this.#sources.get(source) ?? 0;
  }

  /** @returns undefined where there is not enough left, in all or of this source */
  reserve(source: string, bytes: number): Reservation | undefined {
    return this.#take(source, bytes) ? new Taken(bytes, (more) => this.#take(source, more)) : undefined;
  }

  /** @param bytes negative: they are given back */
  #take(source: string, bytes: number): boolean {
    const used = this.usedBy(source) + bytes;
    if (bytes > 0 && (used > this.limits.perSource || this.#used + bytes > this.limits.total)) return false;
    if (used === 0) this.#sources.delete(source);
    else this.#sources.set(source, used);
    this.#used += bytes;
    return true;
  }
}

class Taken implements Reservation {
  readonly #take: (more: number) => boolean;
  #bytes: number;
  #isReleased = false;

  constructor(bytes: number, take: (more: number) => boolean) {
    this.#bytes = bytes;
    this.#take = take;
  }

  get bytes(): number {
    return this.#bytes;
  }

  resize(bytes: number): boolean {
    if (this.#isReleased || !this.#take(bytes - this.#bytes)) return false;
    this.#bytes = bytes;
    return true;
  }

  release(): void {
    if (this.#isReleased) return;
    this.resize(0);
    this.#isReleased = true;
  }
}
