import { CONFIRM_BOUND_MS, HOLD_MS, PAUSE_MS } from "./bounds.ts";
import { type Obstacle, obstacleTo } from "./may-serve.ts";
import type { Latest, LatestInsecure } from "./pointer.ts";

export interface Sharing {
  /** A clock that nobody sets, in milliseconds. */
  readonly monotonic: () => number;
  /** Whether there are peers that a new mesh CA should wait for. */
  readonly hold: boolean;
  /** How many peers live, as far as is known: a change is answered when all of them have it. One where left out. */
  readonly livePeers?: (() => number) | undefined;
}

/** Pointers of two histories: of two that have one number, and are not one. */
export interface Fork {
  readonly one: LatestInsecure;
  readonly other: LatestInsecure;
}

/**
 * How what is in force here stands to what the store and peers say. Everything that it is told was verified before: the
 * signatures of all pointers are by the key of the seed.
 */
export class Standing {
  readonly #monotonic: () => number;
  readonly #boundMs: number;
  readonly #latest: Latest;
  /** A look at the store that began before that says nothing about it. */
  readonly enteredAt: number;
  #confirmedAt: number;
  /** Nothing that the store was asked before counts. */
  #validFrom = -Infinity;
  #awakeAt: number;
  #heldUntil: number;
  #highest: LatestInsecure;
  #unknown = false;
  #superseded = false;
  #fork: Fork | undefined;
  #rolledBack = false;
  #movedAt: number | undefined;
  readonly #livePeers: () => number;
  /** Who has the same, by their keys. */
  readonly #have = new Set<string>();
  #waitUntil: number;
  #onRelease: () => void = () => undefined;

  /**
   * @param latest what is in force from now on
   * @param confirmedAt when the store was asked that said so
   * @param hold whether it waits for a peer that has the same
   * @param isAmendment whether the mesh CA is the one of before: then it is served while it waits
   * @param shared whether others can move the pointer
   */
  constructor(
    latest: Latest,
    {
      monotonic,
      confirmedAt,
      hold,
      shared,
      isAmendment = false,
      livePeers = () => 1,
    }: Sharing & { readonly confirmedAt: number; readonly shared: boolean; readonly isAmendment?: boolean },
  ) {
    this.#monotonic = monotonic;
    this.#latest = latest;
    this.#highest = latest;
    this.enteredAt = monotonic();
    this.#awakeAt = this.enteredAt;
    this.#confirmedAt = shared ? confirmedAt : this.enteredAt;
    this.#boundMs = shared ? CONFIRM_BOUND_MS : Infinity;
    this.#waitUntil = hold && shared ? this.enteredAt + HOLD_MS : -Infinity;
    this.#heldUntil = isAmendment ? -Infinity : this.#waitUntil;
    this.#livePeers = livePeers;
  }

  /** Why nothing may be served. It is looked at anew at each use: time passes. */
  get obstacle(): Obstacle | undefined {
    const now = this.wake();
    const facts = {
      forked: this.#fork !== undefined,
      moved: this.isMoved,
      confirmedAt: this.#confirmedAt,
      heldUntil: this.#heldUntil,
    };
    return obstacleTo(facts, now, this.#boundMs);
  }

  get isMoved(): boolean {
    return this.#superseded || this.#unknown || this.#highest.sequence > this.#latest.sequence;
  }

  /** Since when it is known that the pointer is where it is now. */
  get movedAt(): number | undefined {
    return this.#movedAt;
  }

  /** Owners have replaced the seed that is in use here. */
  get isSuperseded(): boolean {
    return this.#superseded;
  }

  get isRolledBack(): boolean {
    return this.#rolledBack;
  }

  /** The latest pointer that anybody has shown. */
  get highest(): LatestInsecure {
    return this.#highest;
  }

  /** Two histories were found. */
  get fork(): Fork | undefined {
    return this.#fork;
  }

  /** What others have to be told of that: two pointers with one number. */
  get forkProof(): readonly Buffer[] {
    const { one, other } = this.#fork ?? {};
    return one === undefined || other?.sequence !== one.sequence ? [] : [one.raw, other.raw];
  }

  /** How long the store has not confirmed what is in force, in milliseconds. */
  get unconfirmedMs(): number {
    return this.#boundMs === Infinity ? 0 : this.#monotonic() - this.#confirmedAt;
  }

  /**
   * Notices that the process was paused: whoever looks at the time every second can't miss that. What was on its way from
   * the store meanwhile is as old as the pause.
   *
   * @returns the time
   */
  wake(): number {
    const now = this.#monotonic();
    if (now - this.#awakeAt > PAUSE_MS && this.#boundMs !== Infinity) {
      this.#validFrom = now;
      this.#confirmedAt = -Infinity;
    }
    this.#awakeAt = now;
    return now;
  }

  /** The store has the pointer where it was. @param at when it was asked */
  confirm(at: number): void {
    this.wake();
    if (at < this.#validFrom) return;
    this.#confirmedAt = Math.max(this.#confirmedAt, at);
    this.#rolledBack = false;
    this.#unknown = false;
    this.#look();
  }

  /** The store shows an earlier pointer, or none: what is in force stays. @param at when it was asked */
  rollBack(at: number): void {
    this.wake();
    if (at < this.#validFrom) return;
    this.#confirmedAt = Math.max(this.#confirmedAt, at);
    this.#rolledBack = true;
  }

  /** There is a later pointer. @param latest undefined: one that this seed has not signed */
  move(latest: LatestInsecure | undefined): void {
    if (latest === undefined) this.#unknown = true;
    else if (latest.sequence === this.#highest.sequence && latest.digest !== this.#highest.digest) {
      this.split(this.#highest, latest);
    } else if (latest.sequence > this.#highest.sequence) {
      this.#highest = latest;
      this.#movedAt = undefined;
    }
    this.#look();
  }

  /** Owners have replaced the seed that is in use here: for good, whatever the store shows. */
  supersede(): void {
    this.#superseded = true;
    this.#look();
  }

  /** There are two histories. */
  split(one: LatestInsecure, other: LatestInsecure): void {
    this.#fork ??= { one, other };
    this.#look();
  }

  /** A peer has the same. @param key of its connection: who says so twice is one peer */
  release(key: string): void {
    this.#heldUntil = -Infinity;
    this.#have.add(key);
    if (this.#have.size >= this.#livePeers()) this.#settle();
  }

  /**
   * Resolves when all peers that live have the same, or after the time that a new mesh CA is held at most. It may be served
   * before: when the first one has it.
   */
  async released(): Promise<void> {
    const ms = this.#waitUntil - this.#monotonic();
    if (!(ms > 0) || this.#fork !== undefined || this.isMoved) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#onRelease = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    // A timer may be early by a part of a millisecond.
    this.#heldUntil = -Infinity;
  }

  #settle(): void {
    this.#waitUntil = -Infinity;
    this.#onRelease();
  }

  #look(): void {
    if (!this.isMoved) this.#movedAt = undefined;
    else this.#movedAt ??= this.#monotonic();
    // Whoever waits for a peer waits for nothing.
    if (this.isMoved || this.#fork !== undefined) this.#settle();
  }
}
