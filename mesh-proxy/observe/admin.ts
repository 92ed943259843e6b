import { createServer, type Socket } from "node:net";
import { NewestConnections } from "../../runtime/newest-connections.ts";
import { RefusalLog } from "../../runtime/refusal-log.ts";
import { describeError } from "../../runtime/errors.ts";
import { answerOne, type HttpRequest, type HttpResponse } from "../../runtime/http-request.ts";
import type { Logger } from "../../runtime/log.ts";
import { sourceOf } from "../../runtime/source.ts";
import { CONTENT_TYPE } from "./exposition.ts";
import { listening } from "../listen.ts";
import { OneAtATime } from "./one-at-a-time.ts";

/** Anybody may connect. A request takes milliseconds, so a connection ends after one answer, or after this. */
const REQUEST_MS = 5_000;

const MOST_CONNECTIONS = 32;

/** RFC 9112 §3 recommends to take request lines of 8000 octets; the headers of a browser are in there, too. */
const MOST_BYTES = 8 * 1024;

export interface AdminPages {
  readonly isReady: () => boolean;
  readonly metrics: () => Promise<string>;
  /** What the proxy was told, and what it made of it. It has no secret. */
  readonly configuration: () => unknown;
}

/** Answers GET on `/healthz` (the process answers), `/readyz` (it accepts connections), `/metrics` and `/config`. */
export class Admin {
  readonly #server;
  readonly #pages: AdminPages;
  readonly #metrics: OneAtATime<string>;
  readonly #open = new NewestConnections(MOST_CONNECTIONS, REQUEST_MS);
  readonly #log: Logger;
  readonly #refusals: RefusalLog;

  private constructor(pages: AdminPages, log: Logger, clock: () => number) {
    this.#pages = pages;
    this.#metrics = new OneAtATime(pages.metrics, clock);
    this.#log = log;
    this.#refusals = new RefusalLog(log);
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  }

  /** @throws MeshProxyError `listen` */
  static async open(port: number, pages: AdminPages, log: Logger, clock: () => number): Promise<Admin> {
    const admin = new Admin(pages, log, clock);
    await listening(admin.#server, { port });
    admin.#server.on("error", () => {});
    return admin;
  }

  close(): void {
    this.#server.close();
    this.#open.destroyAll();
  }

  #serve(socket: Socket): void {
    this.#open.add(socket);
    const peer = socket.remoteAddress ?? "?";
    const source = socket.remoteAddress === undefined ? "?" : sourceOf(socket.remoteAddress);
    socket.on("error", () => {});
    answerOne(socket, {
      mostBytes: MOST_BYTES,
      answer: async (request) => this.#answer(request),
      refused: () => {
        this.#refusals.write({ code: "malformed_request", peer, source }, "what came on the admin port was not HTTP");
      },
    });
  }

  async #answer(request: HttpRequest): Promise<HttpResponse> {
    try {
      return await this.#page(request);
    } catch (error) {
      this.#log.error({ code: "internal", got: describeError(error) }, "the admin port could not answer");
      return { status: 500, text: "" };
    }
  }

  async #page({ method, path }: HttpRequest): Promise<HttpResponse> {
    if (method !== "GET" && method !== "HEAD") return { status: 405, text: "read-only\n" };
    switch (path) {
      case "/healthz":
        return { status: 200, text: "ok\n" };
      case "/readyz":
        return this.#pages.isReady() ? { status: 200, text: "ready\n" } : { status: 503, text: "not ready\n" };
      case "/metrics":
        return { status: 200, text: await this.#metrics.get(), type: CONTENT_TYPE };
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
