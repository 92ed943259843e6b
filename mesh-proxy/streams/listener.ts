import { closeSync, openSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { type ListenAddress, listening } from "../listen.ts";
import { type Kernel, requireNumber } from "./kernel.ts";
import { ignore, READ_AHEAD, tuneTransport } from "./tcp.ts";

export interface ListenerOptions {
  readonly at: ListenAddress;
  /** Gets every connection, paused. */
  readonly accept: (transport: Socket) => void;
  /** The system could not accept a connection; the listener goes on. */
  readonly failed: (error: Error) => void;
  /** From this number on a descriptor is one of those that are kept free. */
  readonly descriptors: number;
  readonly duplicate: Kernel["duplicate"];
  /** Connections wait because there are no descriptors for them. */
  readonly paused: () => void;
}

/** How often to look whether there are descriptors again. */
const PAUSE_MS = 100;

/**
 * A TCP listener that can be stopped, and pauses by itself. When no descriptor is left, libuv accepts connections only to
 * close them at once, and some clients take that for an answer that is empty. So it stops accepting before: connections then
 * wait in the kernel's queue until others have ended.
 */
export class Listener {
  readonly #server: Server;
  readonly #options: ListenerOptions;
  #state: "accepting" | { readonly fd: number } | "stopped" = "accepting";

  private constructor(server: Server, options: ListenerOptions) {
    this.#server = server;
    this.#options = options;
  }

  /** @throws MeshProxyError `listen` or `node` */
  static async open(options: ListenerOptions): Promise<Listener> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, highWaterMark: READ_AHEAD });
    const listener = new Listener(server, options);
    server.on("connection", (transport) => {
      tuneTransport(transport);
      transport.on("error", ignore);
      options.accept(transport);
      if (listener.#state === "accepting" && listener.#isScarce()) listener.#pause();
    });
    await listening(server, options.at);
    requireNumber(server);
    server.on("error", options.failed);
    return listener;
  }

  /** Accepts no more; its connections go on. To say it again does nothing. */
  stop(): void {
    if (this.#state === "stopped") return;
    if (typeof this.#state === "object") closeSync(this.#state.fd);
    else this.#server.close();
    this.#state = "stopped";
  }

  /** The kernel gives the lowest number that is free: as many descriptors are in use, at least. */
  #isScarce(): boolean {
    try {
      const lowest = openSync("/dev/null", "r");
      closeSync(lowest);
      return lowest >= this.#options.descriptors;
    } catch {
      return true;
    }
  }

  #pause(): void {
    const { duplicate, failed, paused } = this.#options;
    try {
      this.#state = { fd: duplicate(this.#server) };
    } catch (error) {
      failed(error as Error);
      return;
    }
    this.#server.close();
    paused();
    const timer = setInterval(() => {
      if (this.#state !== "stopped" && this.#isScarce()) return;
      clearInterval(timer);
      if (typeof this.#state !== "object") return;
      this.#server.listen({ fd: this.#state.fd });
      this.#state = "accepting";
    }, PAUSE_MS);
  }
}
