import type { Registry } from "prom-client";
import { describeError } from "../../runtime/errors.ts";
import type { HttpRequest, HttpResponse } from "../../runtime/http-request.ts";
import type { Logger } from "../../runtime/log.ts";
import { SharedText } from "./shared-text.ts";
import type { StateGuard } from "../state/state-guard.ts";

/**
 * Probes and metrics of docs/design.md §2. Started and live: it answers. Ready: a manifest is set and the secrets are
 * there. How long a connection may take is up to the port that it came from.
 */
export function createProbes(
  guard: Pick<StateGuard, "phase" | "missingShares">,
  registry: Registry,
  log: Logger,
): (request: HttpRequest) => Promise<HttpResponse> {
  const metrics = new SharedText(() => registry.metrics());
  const plain = (status: HttpResponse["status"], text: string): HttpResponse => ({ status, text });
  return async ({ method, path }) => {
    if (method !== "GET" && method !== "HEAD") return plain(405, "only GET\n");
    if (path === "/probe/startup" || path === "/probe/liveness") return plain(200, "ok\n");
    if (path === "/probe/readiness") {
      const missing = guard.phase === "recovery" ? guard.missingShares : undefined;
      const detail = missing === undefined ? "" : `, ${missing} more seed ${missing === 1 ? "share" : "shares"} needed`;
      return plain(guard.phase === "active" ? 200 : 503, `${guard.phase}${detail}\n`);
    }
    if (path !== "/metrics") return plain(404, "not found\n");
    try {
      return { status: 200, type: registry.contentType, text: await metrics.read() };
    } catch (error) {
      log.error(`no metrics: ${describeError(error)}`);
      return plain(500, "internal error\n");
    }
  };
}
