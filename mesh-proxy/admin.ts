import { createServer } from "node:http";
import type { Logger } from "../runtime/log.ts";
import { listening } from "./listener.ts";

/** Answers GET on `/healthz` (the process answers) and `/readyz` (it accepts connections), on all addresses. */
export class Admin {
  readonly #server;
  #isReady = false;

  constructor(log: Logger) {
    this.#server = createServer({ headersTimeout: 5_000, requestTimeout: 5_000 }, (request, response) => {
      const [status, text] = this.#answer(request.method, request.url);
      response.writeHead(status, { "content-type": "text/plain" }).end(`${text}\n`);
    });
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      log.warn({ code: "malformed_request", got: error.code }, "admin port: connection closed, it was not HTTP");
      socket.destroy();
    });
  }

  /** @throws MeshProxyError `listen` */
  async open(port: number): Promise<void> {
    await listening(this.#server, { port });
    this.#server.on("error", () => {});
  }

  set isReady(isReady: boolean) {
    this.#isReady = isReady;
  }

  #answer(method: string | undefined, url: string | undefined): readonly [number, string] {
    if (method !== "GET" && method !== "HEAD") return [405, "read-only"];
    if (url === "/healthz") return [200, "ok"];
    if (url === "/readyz") return this.#isReady ? [200, "ready"] : [503, "not ready"];
    return [404, "not found"];
  }
}
