/**
 * When work for a peer may be done that nothing can interrupt: OpenSSL verifies a whole chain of certificates at once, and
 * one of the peer's making may take a quarter of a second. Sources, not peers, share the time:
 *
 * - What work cost stays on its source's account until it has succeeded, or for four times as long as it took. So no source
 *   gets more than a quarter of the time for what fails.
 * - Next is who has the least on the account, with what the work may cost by its size. A peer with a chain of the mesh is
 *   not behind those with chains as long as they may be, of however many sources.
 * - What is long is half of the time at most, whoever it is for, and after a few milliseconds of anything everything else on
 *   the event loop has its turn.
 */

export interface FairTurnsOptions {
  /** Milliseconds since whenever; never goes back. */
  readonly clock: () => number;
}

/** How much may be on a source's account for work to begin that costs nothing, in milliseconds. */
const CREDIT_MS = 400;

/** For a millisecond on the account of a source so many have to go by. */
const PATIENCE = 4;

/** More than most chains of the mesh have. After work about so much the next such work waits for as long as it took. */
const MANY_BYTES = 3 * 1024;

/** What a byte of a chain may cost at most, in milliseconds: 12 KiB take some 250. docs/mesh-proxy.md has the table. */
const BYTE_MS = 0.02;

/** How long work may go on before others have their turn: a loop accepts one connection in each of its turns. */
const TURN_MS = 1;

/** Accounts to keep without a look at whether they are even. */
const MANY = 1_000;

interface Piece {
  readonly source: string;
  readonly bytes: number;
  readonly expectedMs: number;
  readonly work: () => void;
  /** What is to be done with what it cost. */
  readonly done: (costMs: number) => void;
}

interface Account {
  /** As of `at`. */
  ms: number;
  at: number;
}

/** What one peer's work has cost. */
export interface Bill {
  /**
   * Does work when it is its turn.
   *
   * @param bytes that the work is about
   * @returns what takes it back; undefined where nobody waits, and it is done already
   */
  run(bytes: number, work: () => void): (() => void) | undefined;
  /** It was no waste: it goes off the account. */
  settle(): void;
}

export class FairTurns {
  readonly #clock: () => number;
  readonly #accounts = new Map<string, Account>();
  readonly #waiting = new Set<Piece>();
  /** When the next long work may begin. */
  #longUntil = 0;
  /** Since others had their turn. */
  #spentMs = 0;
  /** Whether it goes on after others had their turn. */
  #isNext = false;
  /** When it goes on, where nothing may begin before. */
  #timer: NodeJS.Timeout | undefined;

  constructor({ clock }: FairTurnsOptions) {
    this.#clock = clock;
  }

  /** Pieces of work that wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  open(source: string): Bill {
    let costMs = 0;
    return {
      run: (bytes, work) => {
        const done = (ms: number): void => void (costMs += ms);
        const piece: Piece = { source, bytes, expectedMs: bytes * BYTE_MS, work, done };
        const isAtOnce = this.#waiting.size === 0 && this.#spentMs < TURN_MS && this.#mayBegin(piece);
        if (isAtOnce) this.#perform(piece);
        else this.#waiting.add(piece);
        this.#schedule();
        return isAtOnce ? undefined : () => void this.#waiting.delete(piece);
      },
      settle: () => {
        this.#charge(source, -costMs);
        this.#longUntil -= costMs;
        costMs = 0;
      },
    };
  }

  #mayBegin(piece: Piece): boolean {
    return this.#delayOf(piece) <= 0;
  }

  /** How long until a piece may begin, in milliseconds. */
  #delayOf({ source, bytes, expectedMs }: Piece): number {
    const own = this.#balance(source);
    const delay = own === 0 ? 0 : (own + Math.min(expectedMs, CREDIT_MS) - CREDIT_MS) * PATIENCE;
    return bytes < MANY_BYTES ? delay : Math.max(delay, this.#longUntil - this.#clock());
  }

  #balance(source: string): number {
    const account = this.#accounts.get(source);
    return account === undefined ? 0 : Math.max(0, account.ms - (this.#clock() - account.at) / PATIENCE);
  }

  #charge(source: string, ms: number): void {
    const sum = this.#balance(source) + ms;
    if (sum <= 0) this.#accounts.delete(source);
    else this.#accounts.set(source, { ms: sum, at: this.#clock() });
  }

  #perform({ source, bytes, work, done }: Piece): void {
    const start = this.#clock();
    try {
      work();
    } finally {
      const cost = this.#clock() - start;
      this.#spentMs += cost;
      this.#charge(source, cost);
      if (bytes >= MANY_BYTES) this.#longUntil = this.#clock() + cost;
      done(cost);
    }
  }

  /** What comes may begin before what waits already. */
  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#isNext || (this.#spentMs === 0 && this.#waiting.size === 0)) return;
    const delayMs = this.#spentMs > 0 ? 0 : this.#delayMs();
    if (delayMs > 0) {
      this.#timer = setTimeout(() => this.#next(), delayMs);
    } else {
      this.#isNext = true;
      setImmediate(() => this.#next());
    }
  }

  #next(): void {
    this.#isNext = false;
    this.#spentMs = 0;
    this.#forget();
    this.#drain();
    this.#schedule();
  }

  #drain(): void {
    while (this.#spentMs < TURN_MS) {
      let best: Piece | undefined;
      let least = Infinity;
      for (const piece of this.#waiting) {
        const sum = this.#balance(piece.source) + piece.expectedMs;
        if (sum >= least || !this.#mayBegin(piece)) continue;
        best = piece;
        least = sum;
      }
      if (best === undefined) return;
      this.#waiting.delete(best);
      this.#perform(best);
    }
  }

  /** Until the first of those that wait may begin. */
  #delayMs(): number {
    let delay = Infinity;
    for (const piece of this.#waiting) {
      delay = Math.min(delay, this.#delayOf(piece));
    }
    return Math.max(0, delay);
  }

  /** Accounts that are even; there may be as many sources as there are addresses. */
  #forget(): void {
    if (this.#accounts.size <= MANY) return;
    for (const source of this.#accounts.keys()) if (this.#balance(source) === 0) this.#accounts.delete(source);
  }
}
