import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { type Refusal, RefusalLog } from "../../runtime/refusal-log.ts";
import { type MeshProxyCode, MeshProxyError } from "../faults.ts";

/** What happens to connections all the time, by no fault of the configuration. */
const EVERYDAY: ReadonlySet<string> = new Set<MeshProxyCode>(["client_gone", "connection_broken"]);

/** Says why connections of one route were refused, or broke. */
export class FaultLog {
  readonly #log: Logger;
  readonly #refusals: RefusalLog;

  constructor(log: Logger) {
    this.#log = log;
    this.#refusals = new RefusalLog(log);
  }

  /** @param source whose connections are counted together; empty: the application @returns the code */
  say(error: unknown, { peer, source }: Pick<Refusal, "peer" | "source">): string {
    if (!(error instanceof MeshProxyError)) {
      const got = describeError(error);
      this.#log.error({ code: "internal", peer, got }, "an internal error of the proxy ended a connection");
      return "internal";
    }
    const { code, message, where, got, want, hint } = error;
    if (EVERYDAY.has(code)) this.#log.debug({ code, peer, where, got, want, hint }, message);
    else
      this.#refusals.write({ code, peer, source: source === "" ? "the pod" : source }, message, {
        where,
        got,
        want,
        hint,
      });
    return code;
  }
}
