import type { Logger } from "../../runtime/log.ts";

/** Tells the log when something begins to fail, fails for another reason, or works again: a line per change, not per try. */
export class Condition {
  readonly #what: string;
  readonly #log: Logger;
  #reason: string | undefined;

  constructor(what: string, log: Logger) {
    this.#what = what;
    this.#log = log;
  }

  /** @param reason the same text as long as nothing changes; `detail` may differ every time */
  failed(reason: string, detail?: string): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#log.warn({ reason, ...(detail === undefined ? {} : { detail }) }, `${this.#what} fails`);
  }

  worked(): void {
    if (this.#reason === undefined) return;
    this.#reason = undefined;
    this.#log.info(`${this.#what} works again`);
  }
}
