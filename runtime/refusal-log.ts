import type { Logger } from "./log.ts";

/** After the first line of a reason: a burst is told of soon, and what goes on and on every ten minutes. */
const FIRST_REPORT_MS = 1_000;
const REPORT_MS = 10 * 60_000;

/** As many pairs of source and reason are told apart. */
const MOST_KEYS = 100;
const OTHERS = "others";

/** Who was refused, and why. */
export interface Refusal {
  /** One of a bounded set, not of the peer's choice. */
  readonly code: string;
  /** Address and port. */
  readonly peer: string;
  /** Whose connections are counted together (`sourceOf`). */
  readonly source: string;
}

/**
 * Says which connections were refused. Anybody who reaches a port can cause as many refusals as they like, and a probe of
 * Kubernetes that does not fit the port is one every few seconds. So the first refusal of a source and reason is a warning
 * at once; those that follow are counted, and a warning says how many there were: after a second, and then every ten
 * minutes. After ten minutes without one it begins anew. None hides those of another source or reason, as long as there are at most
 * a hundred such pairs; those beyond are counted together by their reason. At level debug each has its line.
 */
export class RefusalLog {
  readonly #log: Logger;
  /** How many refusals since the last report, of those who have had a line. */
  readonly #counts = new Map<string, number>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @param details more fields of the line */
  write({ code, peer, source }: Refusal, message: string, details: Readonly<Record<string, unknown>> = {}): void {
    const own = `${source} ${code}`;
    const isApart = this.#counts.has(own) || this.#counts.size < MOST_KEYS;
    const key = isApart ? own : `${OTHERS} ${code}`;
    const count = this.#counts.get(key);
    this.#counts.set(key, count === undefined ? 0 : count + 1);
    if (count === undefined) this.#reportIn(FIRST_REPORT_MS, key, { code, source: isApart ? source : OTHERS });
    this.#log[count === undefined ? "warn" : "debug"]({ peer, code, ...details }, `connection refused: ${message}`);
  }

  #reportIn(ms: number, key: string, who: Readonly<Record<"code" | "source", string>>): void {
    const report = (): void => {
      const count = this.#counts.get(key) ?? 0;
      if (count > 0) this.#log.warn({ ...who, count }, `${count} more connections refused for the same reason`);
      if (count === 0 && ms === REPORT_MS) {
        this.#counts.delete(key);
        return;
      }
      this.#counts.set(key, 0);
      this.#reportIn(REPORT_MS, key, who);
    };
    setTimeout(report, ms).unref();
  }
}
