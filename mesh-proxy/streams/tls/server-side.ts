import { getDefaultHighWaterMark, setDefaultHighWaterMark } from "node:stream";
import type { Server, TLSSocket } from "node:tls";
import { READ_AHEAD } from "../tcp.ts";
import type { Wire } from "./wire.ts";

/** The server's side of TLS on connections that were accepted elsewhere. */
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
   * Has the server make a TLS socket. Which it is, it tells by an error of the wire that is none; of that socket it reports
   * no other error.
   *
   * @throws where this Node does it in another way
   */
  streamOn(wire: Wire): TLSSocket {
    const before = getDefaultHighWaterMark(false);
    // The server has no option for it.
    setDefaultHighWaterMark(false, READ_AHEAD);
    try {
      this.#server.emit("connection", wire);
    } finally {
      setDefaultHighWaterMark(false, before);
    }
    wire.emit("error", WHICH);
    const stream = this.#made;
    this.#made = undefined;
    if (stream === undefined) throw new Error("this Node does not tell the TLS socket of a connection");
    return stream;
  }
}

const WHICH = new Error("which socket is it?");
