import { createServer } from "node:http";
import type { Socket } from "node:net";
import { NewestConnections } from "../runtime/newest-connections.ts";
import { RefusalLog } from "../runtime/refusal-log.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { CONTENT_TYPE } from "./exposition.ts";
import { listening } from "./listener.ts";

/** Anybody may connect. A request takes milliseconds, so a connection ends after one answer, or after this. */
const REQUEST_MS = 5_000;

const MOST_CONNECTIONS = 32;

export interface AdminPages {
  readonly isReady: () => boolean;
  readonly metrics: () => Promise<string>;
  /** What the proxy was told, and what it made of it. It has no secret. */
  readonly configuration: () => unknown;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly type?: string;
}

/** Answers GET on `/healthz` (the process answers), `/readyz` (it accepts connections), `/metrics` and `/config`. */
export class Admin {
  readonly #server;
  readonly #pages: AdminPages;

  private constructor(pages: AdminPages, log: Logger) {
    this.#pages = pages;
    this.#server = createServer((request, response) => {
      this.#answer(request.method, request.url).then(
        ({ status, text, type = "text/plain; charset=utf-8" }) => {
          response.writeHead(status, { "content-type": type, connection: "close" }).end(text);
        },
        (error: unknown) => {
          log.error({ code: "internal", got: describeError(error) }, "admin port: no answer");
          response.writeHead(500, { connection: "close" }).end();
        },
      );
    });
    const open = new NewestConnections(MOST_CONNECTIONS, REQUEST_MS);
    this.#server.on("connection", (socket) => void open.add(socket));
    const refusals = new RefusalLog(log);
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
      // A probe that only connects.
      if (error.code === "ECONNRESET") return void socket.destroy();
      refusals.write("malformed_request", socket.remoteAddress ?? "?", "what came on the admin port was not HTTP", {
        got: error.code,
      });
      socket.destroy();
    });
  }

  /** @throws MeshProxyError `listen` */
  static async open(port: number, pages: AdminPages, log: Logger): Promise<Admin> {
    const admin = new Admin(pages, log);
    await listening(admin.#server, { port });
    admin.#server.on("error", () => {});
    return admin;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(method: string | undefined, url = ""): Promise<Answer> {
    if (method !== "GET" && method !== "HEAD") return { status: 405, text: "read-only\n" };
    const [path = ""] = url.split("?");
    switch (path) {
      case "/healthz":
        return { status: 200, text: "ok\n" };
      case "/readyz":
        return this.#pages.isReady() ? { status: 200, text: "ready\n" } : { status: 503, text: "not ready\n" };
      case "/metrics":
        return { status: 200, text: await this.#pages.metrics(), type: CONTENT_TYPE };
      case "/config":
        return {
          status: 200,
          text: `${JSON.stringify(this.#pages.configuration(), null, 2)}\n`,
          type: "application/json",
        };
      default:
        return { status: 404, text: "want /healthz, /readyz, /metrics or /config\n" };
    }
  }
}
