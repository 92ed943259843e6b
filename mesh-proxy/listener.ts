import { createServer, type Server, type Socket } from "node:net";
import { type Endpoint, formatEndpoint } from "../mesh-rules/endpoint.ts";
import { MeshProxyError, reason } from "./errors.ts";
import { plainLeg, reset, TRANSPORT } from "./leg.ts";

export interface ListenerOptions {
  readonly at: Endpoint;
  /** Whether who closes a connection before it is spliced may still be waiting for an answer: in plain TCP it may. */
  readonly allowHalfOpen: boolean;
  /** Gets every connection, paused. */
  readonly accept: (transport: Socket) => void;
  /** The system could not accept a connection; the listener goes on. */
  readonly failed: (error: Error) => void;
}

/** A TCP listener that can be stopped together with its connections. */
export class Listener {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws MeshProxyError `listen` */
  static async open({ at, allowHalfOpen, accept, failed }: ListenerOptions): Promise<Listener> {
    const server = createServer({ ...TRANSPORT, allowHalfOpen, pauseOnConnect: true });
    const listener = new Listener(server);
    server.on("connection", (transport) => {
      listener.#connections.add(transport);
      transport.once("close", () => listener.#connections.delete(transport));
      // A reset of one connection must not end the process, whoever else listens for it.
      transport.on("error", () => {});
      accept(transport);
    });
    await listening(server, at);
    server.on("error", failed);
    return listener;
  }

  /** Accepts no more; resolves when the last connection has ended. */
  async drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    return promise;
  }

  resetAll(): void {
    for (const transport of this.#connections) reset(plainLeg(transport));
  }
}

/**
 * @param at without a host: all addresses
 * @throws MeshProxyError `listen`
 */
export async function listening(server: Server, at: { readonly host?: string; readonly port: number }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(at, resolve);
  try {
    await promise;
  } catch (error) {
    const got = reason(error as Error);
    throw new MeshProxyError("listen", "can't listen", {
      where: formatEndpoint({ host: "*", ...at }),
      got,
      hint: HINTS[got] ?? "choose another address or port",
      cause: error,
    });
  }
  server.off("error", reject);
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there: stop it, or choose another address or port",
  EADDRNOTAVAIL: "this machine does not have that address: choose one it has",
  EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a higher port",
};
