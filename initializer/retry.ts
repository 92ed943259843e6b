import { backoff } from "../runtime/backoff.ts";
import { type Instant, isOver, laterBy } from "./renewal.ts";

/** Between two tries, at most, in milliseconds. Certificates are renewed with hours to go. */
const MOST_MS = 60_000;

/** When something that failed may be tried again: later each time. */
export class Retry {
  readonly #options: { readonly now: () => Instant; readonly random: () => number };
  #failures = 0;
  #obstacle: string | undefined;
  #next: Instant | undefined;

  constructor(options: { readonly now: () => Instant; readonly random: () => number }) {
    this.#options = options;
  }

  /** undefined: at once. */
  get next(): Instant | undefined {
    return this.#next;
  }

  mayTry(): boolean {
    return this.#next === undefined || isOver(this.#next, this.#options.now());
  }

  succeeded(): void {
    this.#failures = 0;
    this.#obstacle = this.#next = undefined;
  }

  /** @param waitMs what the other side asks for beside @returns whether it is another obstacle than the last time */
  failed(obstacle: string, waitMs: number): boolean {
    const { now, random } = this.#options;
    this.#failures++;
    this.#next = laterBy(now(), waitMs + backoff(this.#failures, random(), 500, MOST_MS));
    const isOther = obstacle !== this.#obstacle;
    this.#obstacle = obstacle;
    return isOther;
  }
}
