import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { MOST_HANDSHAKE_BYTES } from "../../limits/numbers.ts";
import { ConnectionFault } from "../fault.ts";
import { ignore, READ_AHEAD } from "../tcp.ts";

/** RFC 8446 §5.1: the type of a record. */
const HANDSHAKE = 22;

/**
 * What lies between a TCP connection and TLS, and decides what TLS gets of it:
 *
 * - Of a handshake at most 12 KiB. OpenSSL verifies all signatures of a chain in one go, and Node takes chains of 100 KiB.
 * - Nothing between the handshake and `release`: there may be no room yet for what the peer says.
 * - Never the end of TCP. Who controls the network can send a FIN at any time, and so cut a message short between two
 *   records. So where TLS ends, it is by its closing alert (RFC 8446 §6.1); of TCP's end `lost` tells.
 */
export class Wire extends Duplex {
  readonly #transport: Socket;
  readonly #begun = Promise.withResolvers<void>();
  #phase: "handshake" | "waiting" | "released" = "handshake";
  /** Bytes that TLS has got, of a handshake. */
  #handedOver = 0;
  /** What came together with the end of the handshake. */
  #rest: Buffer | undefined;
  #lost: Error | undefined;

  /** @param transport connected, and read by nobody */
  constructor(transport: Socket) {
    super({ readableHighWaterMark: READ_AHEAD, writableHighWaterMark: READ_AHEAD });
    this.#transport = transport;
    this.#begun.promise.catch(ignore);
    this.on("error", ignore);
    transport.on("data", (bytes: Buffer) => this.#take(bytes));
    transport.on("end", () => this.#over(new Error("TCP ended without close_notify")));
    transport.on("close", () => this.#closed());
    if (transport.destroyed) this.#closed();
    else transport.resume();
  }

  /** @returns when a client has said something @throws ConnectionFault `client_gone` or `handshake_too_large` */
  async begun(): Promise<void> {
    return this.#begun.promise;
  }

  /** Why nothing more comes of TCP; undefined: more may come. The event `lost` tells that it has changed. */
  get lost(): Error | undefined {
    return this.#lost;
  }

  /** The handshake is done. To be called from within TLS. */
  done(): void {
    if (this.#phase !== "handshake") return;
    this.#phase = "waiting";
    this.#transport.pause();
  }

  release(): void {
    this.#phase = "released";
    if (this.#rest !== undefined) this.push(this.#rest);
    this.#rest = undefined;
    this.#transport.resume();
  }

  #take(bytes: Buffer): void {
    if (this.#phase === "waiting") this.#rest = Buffer.concat([this.#rest ?? Buffer.alloc(0), bytes]);
    else if (this.#phase === "handshake") this.#handOver(bytes);
    else if (!this.push(bytes)) this.#transport.pause();
  }

  #handOver(bytes: Buffer): void {
    const room = MOST_HANDSHAKE_BYTES - this.#handedOver;
    // A client has to wait for an answer. What is no TLS, TLS refuses.
    if (bytes.length > room && this.readableFlowing === null && bytes[0] === HANDSHAKE) return this.#fail(tooLarge());
    const handedOver = bytes.subarray(0, room);
    this.#handedOver += handedOver.length;
    this.#transport.pause();
    this.push(handedOver);
    this.#begun.resolve();
    if (bytes.length <= room) return;
    this.#rest = bytes.subarray(room);
    // By then TLS has read all that it got.
    setImmediate(() => {
      if (this.#phase === "handshake") this.#fail(tooLarge());
    });
  }

  #closed(): void {
    const error = this.#transport.errored ?? new Error("closed");
    this.#over(error);
    if (this.#phase !== "released") this.destroy(error);
  }

  #over(error: Error): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    if (this.#phase !== "handshake") {
      this.emit("lost");
      return;
    }
    if (this.#handedOver === 0) this.#begun.reject(new ConnectionFault("client_gone"));
    this.#fail(Object.assign(new Error("the peer went away during its handshake"), { code: "ECONNRESET" }));
  }

  #fail(error: Error): void {
    this.#begun.reject(error);
    this.destroy(error);
  }

  override _read(): void {
    if (this.#phase !== "waiting" && this.#rest === undefined) this.#transport.resume();
  }

  /** That it can't be written, its transport tells. */
  override _write(bytes: Buffer, _encoding: BufferEncoding, written: () => void): void {
    this.#transport.write(bytes, () => written());
  }

  override _final(ended: () => void): void {
    this.#transport.end(() => ended());
  }

  /**
   * Who is refused gets a reset: in TLS 1.3 a client believes its handshake done before the server does, and may take the end
   * of its connection for an answer that is empty.
   */
  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    if (this.#phase === "handshake") this.#transport.resetAndDestroy();
    else this.#transport.destroy();
    destroyed(error);
  }
}

function tooLarge(): ConnectionFault {
  return new ConnectionFault("handshake_too_large");
}
