import type { Direction } from "../direction.ts";
import { Histogram, type Labels, type Sample } from "../observe/exposition.ts";
import { type Carried, HANDSHAKE_BOUNDS, type Outcome, type RuleCounts } from "../observe/metrics.ts";

export interface OpenConnection {
  readonly carried: Carried;
  /** How many of its bytes wait for peers to take them. */
  readonly waiting: number;
}

/** The connections of one rule, served by streams. */
export class RuleMetrics implements RuleCounts {
  readonly labels: Labels;
  readonly handshakes = new Histogram(HANDSHAKE_BOUNDS);
  readonly ended: Record<Outcome, number> = { completed: 0, refused: 0, broken: 0 };
  readonly refusals = new Map<string, number>();
  readonly #open = new Set<OpenConnection>();
  readonly #carried = { up: 0, down: 0 };

  constructor(direction: Direction, rule: string) {
    this.labels = { direction, rule };
  }

  opened(connection: OpenConnection): void {
    this.#open.add(connection);
  }

  closed(connection: OpenConnection): void {
    this.#open.delete(connection);
    this.#carried.up += connection.carried.up;
    this.#carried.down += connection.carried.down;
  }

  /** @param reason one of a bounded set */
  end(outcome: Outcome, reason: string): void {
    this.ended[outcome]++;
    if (outcome === "refused") this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
  }

  get open(): number {
    return this.#open.size;
  }

  /** Also of those that are still open: some connections last for weeks. */
  bytes(flow: keyof Carried): number {
    let sum = this.#carried[flow];
    for (const { carried } of this.#open) sum += carried[flow];
    return sum;
  }

  get bufferedBytes(): number {
    let sum = 0;
    for (const { waiting } of this.#open) sum += waiting;
    return sum;
  }

  handshakeSamples(labels: Labels): Sample[] {
    return this.handshakes.samples(labels);
  }
}
