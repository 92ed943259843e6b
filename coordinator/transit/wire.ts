import type { Socket } from "node:net";
import { Duplex } from "node:stream";

/** A ClientHello, a Certificate message with a chain of 9 KiB (manifest/certificate-size.ts), and what ends a handshake. */
const MOST_HANDSHAKE_BYTES = 16 * 1024;

const READ_AHEAD = 64 * 1024;

/**
 * Lies between a TCP connection and TLS: of a handshake TLS gets at most 16 KiB. OpenSSL verifies every signature of a
 * client's chain before it asks anybody, and Node takes chains of 100 KiB.
 */
export class Wire extends Duplex {
  readonly #transport: Socket;
  /** Bytes that TLS may still get of a handshake. */
  #room = MOST_HANDSHAKE_BYTES;
  /** What came together with the end of the handshake. */
  #rest: Buffer | undefined;

  /** @param transport connected, and read by nobody */
  constructor(transport: Socket) {
    super({ readableHighWaterMark: READ_AHEAD, writableHighWaterMark: READ_AHEAD });
    this.#transport = transport;
    this.on("error", () => undefined);
    transport.on("data", (bytes: Buffer) => this.#take(bytes));
    transport.on("end", () => this.push(null));
    transport.on("close", () => this.destroy());
  }

  /** The handshake is done. */
  done(): void {
    this.#room = Infinity;
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) this.push(rest);
    this.#transport.resume();
  }

  #take(bytes: Buffer): void {
    if (bytes.length <= this.#room) {
      this.#room -= bytes.length;
      if (!this.push(bytes)) this.#transport.pause();
      return;
    }
    const room = this.#room;
    this.#room = 0;
    this.#rest = Buffer.concat([this.#rest ?? Buffer.alloc(0), bytes.subarray(room)]);
    this.#transport.pause();
    // The handshake may be done with it, before this returns.
    this.push(bytes.subarray(0, room));
    // By then TLS has read all that it got.
    setImmediate(() => {
      if (this.#rest !== undefined) this.destroy(new Error("the handshake is too large"));
    });
  }

  override _read(): void {
    if (this.#rest === undefined) this.#transport.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, written: () => void): void {
    this.#transport.write(bytes, () => written());
  }

  /** In one piece: each costs a call of the system. */
  override _writev(pieces: readonly { readonly chunk: Buffer }[], written: () => void): void {
    this.#transport.write(Buffer.concat(pieces.map(({ chunk }) => chunk)), () => written());
  }

  override _final(ended: () => void): void {
    this.#transport.end(() => ended());
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    this.#transport.destroy();
    destroyed(error);
  }
}
