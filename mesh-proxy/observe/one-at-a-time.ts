import { setTimeout as delay } from "node:timers/promises";

/**
 * Makes something for whoever asks, however often: once for all who ask while it can't begin, and then it rests for longer
 * than it took. What one gets was made after he asked.
 */
export class OneAtATime<T> {
  readonly #make: () => Promise<T>;
  readonly #clock: () => number;
  readonly #sleep: (ms: number) => Promise<void>;
  #next: Promise<T> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** @param clock milliseconds since whenever; never goes back */
  constructor(make: () => Promise<T>, clock: () => number, sleep = sleepFor) {
    this.#make = make;
    this.#clock = clock;
    this.#sleep = sleep;
  }

  async get(): Promise<T> {
    this.#next ??= this.#begin();
    return this.#next;
  }

  async #begin(): Promise<T> {
    await this.#last;
    this.#next = undefined;
    const start = this.#clock();
    const made = this.#make();
    const rest = async (): Promise<void> => this.#sleep(REST * (this.#clock() - start));
    this.#last = made.then(rest, rest);
    return made;
  }
}

/** For a millisecond of work so many of rest. */
const REST = 3;

/** Does not keep the process alive. */
async function sleepFor(ms: number): Promise<void> {
  await delay(ms, undefined, { ref: false });
}
