import { Budget, type BudgetLimits, type Reservation } from "../../../runtime/budget.ts";

/**
 * The bytes that wait for peers to take them. Where those of a source, or all of them, are more than
 * they may be, connections are reset: of the source that has most, that which holds most, and of several that which has
 * waited for longest. All others go on.
 */
export class HeldBytes {
  readonly #budget: Budget;
  /** In the order in which they began to wait. */
  readonly #holders = new Set<Holding>();

  constructor(limits: BudgetLimits) {
    this.#budget = new Budget(limits);
  }

  get used(): number {
    return this.#budget.used;
  }

  /** Of the source that has most. */
  get mostOfOneSource(): number {
    let most = 0;
    for (const { source } of this.#holders) most = Math.max(most, this.#budget.usedBy(source));
    return most;
  }

  /** Says how many bytes a connection holds from now on. */
  set(holding: Holding, bytes: number): void {
    if (holding.isReset) return;
    if (bytes === 0) return this.release(holding);
    while (!this.#reserve(holding, bytes)) {
      const victim = this.#victim(holding, bytes);
      this.release(victim);
      victim.isReset = true;
      // Not now: it may be in the midst of what made it hold so much.
      process.nextTick(victim.reset);
      if (victim === holding) return;
    }
    this.#holders.add(holding);
  }

  release(holding: Holding): void {
    holding.reservation?.release();
    holding.reservation = undefined;
    this.#holders.delete(holding);
  }

  #reserve(holding: Holding, bytes: number): boolean {
    if (holding.reservation !== undefined) return holding.reservation.resize(bytes);
    holding.reservation = this.#budget.reserve(holding.source, bytes);
    return holding.reservation !== undefined;
  }

  /** @param bytes that `asking` is to hold, and for which there is no room */
  #victim(asking: Holding, bytes: number): Holding {
    const more = bytes - (asking.reservation?.bytes ?? 0);
    const used = (source: string): number => this.#budget.usedBy(source) + (source === asking.source ? more : 0);
    let { source } = asking;
    if (used(source) <= this.#budget.limits.perSource) {
      for (const other of this.#holders) if (used(other.source) > used(source)) ({ source } = other);
    }
    let victim = asking;
    let most = source === asking.source ? bytes : 0;
    for (const other of this.#holders) {
      const held = other.reservation?.bytes ?? 0;
      if (other === asking || other.source !== source || held < most) continue;
      // Of those that hold the same the first, which has waited for longest.
      if (held === most && victim !== asking) continue;
      victim = other;
      most = held;
    }
    return victim;
  }
}

/** What one connection holds. */
export class Holding {
  readonly source: string;
  /** Ends the connection. */
  readonly reset: () => void;
  reservation: Reservation | undefined;
  isReset = false;

  constructor(source: string, reset: () => void) {
    this.source = source;
    this.reset = reset;
  }
}
