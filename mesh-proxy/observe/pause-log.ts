import type { Logger } from "../../runtime/log.ts";

/** Says once a minute at most that connections wait: listeners may go on and stop again many times a second. */
export class PauseLog {
  #hasTold = false;

  tell(log: Logger): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    setTimeout(() => (this.#hasTold = false), 60_000).unref();
    log.warn({ code: "descriptors", hint: RAISE }, "new connections wait: no file descriptors are left");
  }
}

const RAISE = "raise the limit of open files (RLIMIT_NOFILE), two for each connection, or the number of replicas";
