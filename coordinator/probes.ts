import { createServer, type Server } from "node:http";
import type { Logger } from "../runtime/log.ts";
import type { Metrics } from "./metrics.ts";
import type { StateGuard } from "./state-guard.ts";

/**
 * Probes and metrics of design §2, plain HTTP. Started and live: it answers. Ready: a manifest is set and the secrets
 * are there.
 */
export function createProbes(guard: StateGuard, metrics: Metrics, log: Logger): Server {
  const server = createServer({ requestTimeout: 5000, headersTimeout: 5000 }, (request, response) => {
    const [path] = (request.url ?? "").split("?");
    const answer = (status: number, text: string, type = "text/plain; charset=utf-8"): void => {
      response.writeHead(status, { "content-type": type }).end(text);
    };
    if (request.method !== "GET" && request.method !== "HEAD") {
      answer(405, "only GET\n");
    } else if (path === "/probe/startup" || path === "/probe/liveness") {
      answer(200, "ok\n");
    } else if (path === "/probe/readiness") {
      answer(guard.phase === "active" ? 200 : 503, `${guard.phase}\n`);
    } else if (path === "/metrics") {
      void metrics.registry.metrics().then((text) => answer(200, text, metrics.registry.contentType));
    } else {
      answer(404, "not found\n");
    }
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    log.warn({ code: error.code }, "probe port: connection closed, it was not HTTP");
    socket.destroy();
  });
  return server;
}
