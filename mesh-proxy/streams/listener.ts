import { closeSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { type Endpoint, formatEndpoint } from "../../mesh-rules/endpoint.ts";
import { type Descriptors, duplicate } from "../limits/descriptors.ts";
import { MeshProxyError, reason } from "../faults.ts";
import { ignore, tuneTransport } from "./leg.ts";
import { READ_AHEAD } from "./read-ahead.ts";

/** An address to listen on; `fd` is a socket that does so already. */
export interface ListenAddress extends Endpoint {
  readonly fd?: number;
}

export interface ListenerOptions {
  readonly at: ListenAddress;
  /** Whether who closes a connection before it is spliced may still be waiting for an answer: in plain TCP it may. */
  readonly allowHalfOpen: boolean;
  /** Gets every connection, paused. */
  readonly accept: (transport: Socket) => void;
  /** The system could not accept a connection; the listener goes on. */
  readonly failed: (error: Error) => void;
  readonly descriptors: Descriptors;
  /** Connections wait because there are no descriptors for them. */
  readonly paused: () => void;
}

/** How often to look whether there are descriptors again. */
const PAUSE_MS = 100;

/** A TCP listener that can be stopped, and pauses by itself. */
export class Listener {
  readonly #server: Server;
  readonly #options: ListenerOptions;
  #state: "accepting" | "pausing" | { readonly fd: number } | "stopped" = "accepting";

  private constructor(server: Server, options: ListenerOptions) {
    this.#server = server;
    this.#options = options;
  }

  /** @throws MeshProxyError `listen` */
  static async open(options: ListenerOptions): Promise<Listener> {
    const { at, allowHalfOpen, accept, failed } = options;
    const server = createServer({ allowHalfOpen, pauseOnConnect: true, highWaterMark: READ_AHEAD });
    const listener = new Listener(server, options);
    server.on("connection", (transport) => {
      tuneTransport(transport);
      transport.on("error", ignore);
      accept(transport);
      if (listener.#state === "accepting" && options.descriptors.areScarceAt(transport)) void listener.#pause();
    });
    await listening(server, at);
    server.on("error", failed);
    return listener;
  }

  /** Accepts no more; its connections go on. To say it again does nothing. */
  stop(): void {
    if (this.#state === "stopped") return;
    if (typeof this.#state === "object") closeSync(this.#state.fd);
    else this.#server.close();
    this.#state = "stopped";
  }

  async #pause(): Promise<void> {
    this.#state = "pausing";
    try {
      const fd = await duplicate(this.#server);
      if (this.#wasStopped()) return closeSync(fd);
      this.#server.close();
      this.#state = { fd };
      this.#options.paused();
    } catch (error) {
      this.#options.failed(error as Error);
    }
    const timer = setInterval(() => {
      if (this.#state !== "stopped" && this.#options.descriptors.areScarce) return;
      clearInterval(timer);
      if (this.#state === "stopped") return;
      if (typeof this.#state === "object") this.#server.listen({ fd: this.#state.fd });
      this.#state = "accepting";
    }, PAUSE_MS);
  }

  #wasStopped(): boolean {
    return this.#state === "stopped";
  }
}

/**
 * @param at without a host: all addresses
 * @throws MeshProxyError `listen`
 */
export async function listening(
  server: Server,
  at: { readonly host?: string; readonly port: number; readonly fd?: number },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(at.fd === undefined ? at : { fd: at.fd }, resolve);
  try {
    await promise;
  } catch (error) {
    throw listenError(at, error as Error);
  }
  server.off("error", reject);
}

/** @param error of the system, with its code or with that as its message */
export function listenError(at: { readonly host?: string; readonly port: number }, error: Error): MeshProxyError {
  const code = reason(error);
  const got = code in HINTS || !(error.message in HINTS) ? code : error.message;
  return new MeshProxyError("listen", "can't listen", {
    where: formatEndpoint({ host: "*", ...at }),
    got,
    hint: HINTS[got] ?? "choose another address or port",
    cause: error,
  });
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there: stop it, or choose another address or port",
  EADDRNOTAVAIL: "this machine does not have that address: choose one it has",
  EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a higher port",
};
