import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** The network between a client and an API server: carries bytes, cuts connections, or loses every packet. */
export class Relay {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isSilent = false;

  private constructor(target: { readonly host: string; readonly port: string }) {
    this.#server = createServer((near) => {
      const far = connect({ host: target.host, port: Number(target.port) });
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      if (this.#isSilent) stall(pair);
      else join(pair);
      for (const socket of pair) {
        socket.on("error", () => undefined);
        socket.on("close", () => {
          this.#pairs.delete(pair);
          for (const other of pair) other.destroy();
        });
      }
    });
  }

  /** @param at of loopback; one of the addresses that the API server's certificate names */
  static async open(
    at: string,
    port: string,
    target: { readonly host: string; readonly port: string },
  ): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(Number(port), at);
    await once(relay.#server, "listening");
    return relay;
  }

  /** Ends every connection with a reset. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy();
  }

  /** From here on nothing arrives, on old and new connections, until `speak`. */
  silence(): void {
    this.#isSilent = true;
    for (const pair of this.#pairs) stall(pair);
  }

  /** What is held back by then is lost: its connections end. */
  speak(): void {
    this.#isSilent = false;
    this.cut();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}

function join([near, far]: readonly [Socket, Socket]): void {
  near.pipe(far);
  far.pipe(near);
}

function stall([near, far]: readonly [Socket, Socket]): void {
  near.unpipe(far);
  far.unpipe(near);
}
