import type { Logger } from "./log.ts";

const INTERVAL_MS = 1000;

/**
 * Says which connections were refused and why, and does not let those who are refused fill the log: the first of a
 * reason is a line, those of the next second are counted in one.
 */
export class RefusalLog {
  readonly #log: Logger;
  /** How many of a reason were refused since its last line; no entry where there was none lately. */
  readonly #counts = new Map<string, number>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * @param code one of a bounded set, not of the peer's choice
   * @param details more fields of the line
   */
  write(code: string, peer: string, message: string, details: Readonly<Record<string, unknown>> = {}): void {
    const count = this.#counts.get(code);
    if (count !== undefined) {
      this.#counts.set(code, count + 1);
      return;
    }
    this.#log.warn({ peer, code, ...details }, `connection refused: ${message}`);
    this.#await(code);
  }

  #await(code: string): void {
    this.#counts.set(code, 0);
    setTimeout(() => this.#sumUp(code), INTERVAL_MS).unref();
  }

  #sumUp(code: string): void {
    const count = this.#counts.get(code) ?? 0;
    this.#counts.delete(code);
    if (count === 0) return;
    this.#log.warn({ code, count }, `${count} more connections refused for the same reason`);
    this.#await(code);
  }
}
