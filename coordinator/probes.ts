import { createServer, type Server } from "node:http";
import type { StateGuard } from "./state-guard.ts";

/**
 * The probes of design §2, plain HTTP. Started: the programs answers and its ports are open. Live: it answers. Ready: a
 * manifest is set and the secrets are there.
 */
export function createProbes(guard: StateGuard): Server {
  return createServer({ requestTimeout: 5000, headersTimeout: 5000 }, (request, response) => {
    const path = new URL(request.url ?? "/", "http://probe").pathname;
    const answer = (status: number, text: string): void => {
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text}\n`);
    };
    if (request.method !== "GET" && request.method !== "HEAD") answer(405, "only GET");
    else if (path === "/probe/startup" || path === "/probe/liveness") answer(200, "ok");
    else if (path === "/probe/readiness") answer(guard.phase === "active" ? 200 : 503, guard.phase);
    else answer(404, "not found");
  });
}
