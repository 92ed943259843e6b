import type { Socket } from "node:net";
import type { Server, TLSSocket } from "node:tls";
import { withoutReadAhead } from "../read-ahead.ts";

/** The server's side of TLS on connections that were accepted elsewhere, before anything of them was read. */
export class ServerSide {
  readonly #server: Server;
  #made: TLSSocket | undefined;

  constructor(server: Server) {
    this.#server = server;
    server.on("tlsClientError", (error, socket) => {
      if (error === WHICH) this.#made = socket;
    });
  }

  /**
   * Has the server make a TLS socket. Which it is, it tells by an error of the transport that is none; of that socket it
   * reports no other error.
   *
   * @throws where this Node does it in another way
   */
  streamOn(transport: Socket): TLSSocket {
    withoutReadAhead(() => this.#server.emit("connection", transport));
    transport.emit("error", WHICH);
    const stream = this.#made;
    this.#made = undefined;
    if (stream === undefined) throw new Error("this Node does not tell the TLS socket of a connection");
    return stream;
  }
}

const WHICH = new Error("which socket is it?");
