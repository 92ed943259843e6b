import { createServer, type Server } from "node:http";
import type { Socket } from "node:net";
import type { Registry } from "prom-client";
import { RefusalLog } from "../runtime/refusal-log.ts";
import { peerAddress } from "../channel/tls.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { StateGuard } from "./state-guard.ts";

/**
 * Probes and metrics of design §2, plain HTTP. Started and live: it answers. Ready: a manifest is set and the secrets
 * are there. How long a connection may take is up to the port that it came from.
 */
export function createProbes(
  guard: Pick<StateGuard, "phase" | "missingShares">,
  registry: Registry,
  log: Logger,
): Server {
  const server = createServer((request, response) => {
    const [path] = (request.url ?? "").split("?");
    const answer = (status: number, text: string, type = "text/plain; charset=utf-8"): void => {
      response.writeHead(status, { "content-type": type, connection: "close" }).end(text);
    };
    if (request.method !== "GET" && request.method !== "HEAD") {
      answer(405, "only GET\n");
    } else if (path === "/probe/startup" || path === "/probe/liveness") {
      answer(200, "ok\n");
    } else if (path === "/probe/readiness") {
      const missing = guard.phase === "recovery" ? guard.missingShares : undefined;
      const detail = missing === undefined ? "" : `, ${missing} more seed ${missing === 1 ? "share" : "shares"} needed`;
      answer(guard.phase === "active" ? 200 : 503, `${guard.phase}${detail}\n`);
    } else if (path === "/metrics") {
      registry.metrics().then(
        (text) => answer(200, text, registry.contentType),
        (error: unknown) => {
          log.error(`no metrics: ${describeError(error)}`);
          answer(500, "internal error\n");
        },
      );
    } else {
      answer(404, "not found\n");
    }
  });
  const refusals = new RefusalLog(log);
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    refusals.write(error.code ?? "malformed_request", peerAddress(socket), "what came on the probe port was not HTTP");
    socket.destroy();
  });
  return server;
}
