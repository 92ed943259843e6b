import { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { MeshProxyError, reason } from "../../faults.ts";
import { ignore } from "../leg.ts";
import type { Bill, FairTurns } from "./fair-turns.ts";
import { hasFirstMessage, recordLength, wholeRecords } from "./records.ts";

/**
 * What a peer sends until its handshake is done, before TLS gets it. Node has no hook between the certificates of a peer
 * and OpenSSL, which verifies all signatures of a chain of up to 100 KiB in one go, whatever a callback says. So TLS reads
 * nothing by itself meanwhile. A second descriptor of the connection is read here, and what came is handed over
 *
 * - in whole records: who sends slowly holds up nobody;
 * - up to `MOST_BYTES`, and then the connection ends;
 * - when it is its source's turn (fair-turns.ts).
 *
 * Then the second descriptor is closed, and TLS is left to read the connection as if it had done so all the time.
 *
 * Of Node's internals this relies on the handle of a TLS socket: while `reading` is true nobody starts to read it, and
 * `receive` takes bytes in place of the network. prove.ts tries that before the program serves.
 */

/** A chain of the mesh has at most 8 KiB; the rest of a handshake takes less than 4. */
export const MOST_BYTES = 12 * 1024;

interface Handle {
  reading: boolean;
  receive(bytes: Uint8Array): void;
  readStart(): number;
  readStop(): number;
}

/** What all connections of an event loop have in common. */
export interface Reading {
  /** @returns another descriptor of the connection @throws where there is none */
  readonly duplicate: (transport: Socket) => number;
  readonly turns: FairTurns;
  /** Where to read to. Nothing stays in it. */
  readonly buffer: Buffer;
}

export class Intake {
  readonly #transport: Socket;
  readonly #bill: Bill;
  readonly #reader: Socket;
  readonly #firstMessage = Promise.withResolvers<void>();
  #stream: TLSSocket | undefined;
  /** What TLS has not got yet. */
  #received: Buffer = Buffer.alloc(0);
  /** How much it has got. */
  #fed = 0;
  /** Takes the work back that waits for its turn. */
  #takeBack: (() => void) | undefined;
  #isEnded = false;
  #isDone = false;
  #isClosed = false;

  /**
   * @param transport connected, and read by nobody
   * @param source whose time the handshake takes
   * @throws MeshProxyError `too_many_connections` where no descriptor is left
   */
  constructor(transport: Socket, source: string, { duplicate, turns, buffer }: Reading) {
    this.#transport = transport;
    this.#bill = turns.open(source);
    this.#firstMessage.promise.catch(ignore);
    this.#reader = new Socket({
      fd: descriptorOf(transport, duplicate),
      readable: true,
      writable: false,
      onread: { buffer, callback: (length, bytes) => this.#take(bytes.subarray(0, length)) },
    });
    this.#reader.on("error", (error) => this.#over(error));
    this.#reader.on("end", () => {
      this.#isEnded = true;
      if (this.#takeBack === undefined) this.#over(gone());
    });
    transport.on("close", this.#transportClosed);
  }

  /** @returns when the first message of a client is there @throws what `fail` was called with, or ECONNRESET, or `client_gone` */
  async firstMessage(): Promise<void> {
    return this.#firstMessage.promise;
  }

  /** From now on TLS gets what comes. @param stream was made on the transport in this turn of the event loop */
  feed(stream: TLSSocket): void {
    this.#stream = stream;
    const handle = handleOf(stream);
    handle.readStop();
    handle.reading = true;
    // What Node begins itself, it begins in the next tick.
    process.nextTick(() => {
      this.#next();
      if (this.#takeBack === undefined && !this.#isClosed) this.#reader.resume();
    });
  }

  /** The handshake is done. May be called from within TLS. */
  done(): void {
    this.#isDone = true;
  }

  /** After that: from now on TLS reads by itself. Until then the peer waits, for there may be no room for what it says. */
  release(): void {
    if (this.#stream?.destroyed !== false) return;
    const handle = handleOf(this.#stream);
    // Node may have stopped it, because of what came with the end of the handshake.
    handle.reading = true;
    handle.readStart();
  }

  /** Reads no more. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#takeBack?.();
    this.#transport.off("close", this.#transportClosed);
    this.#reader.destroy();
    this.#firstMessage.reject(gone());
  }

  readonly #transportClosed = (): void => this.close();

  /** A client that has said nothing left without a word; a server that does so has refused. */
  #over(error: Error): void {
    if (this.#fed === 0 && this.#received.length === 0) this.#firstMessage.reject(left());
    this.#fail(error);
  }

  #fail(error: Error): void {
    if (this.#isClosed) return;
    this.#firstMessage.reject(error);
    this.close();
    this.#stream?.destroy(error);
  }

  /** @returns whether to read on */
  #take(bytes: Uint8Array): boolean {
    if (this.#isClosed) return false;
    this.#received = Buffer.concat([this.#received, bytes]);
    if (this.#stream !== undefined) {
      this.#next();
      return this.#takeBack === undefined;
    }
    if (!hasFirstMessage(this.#received)) {
      if (this.#received.length > MOST_BYTES) this.#fail(tooLarge());
      return true;
    }
    this.#firstMessage.resolve();
    return false;
  }

  /** Has what is whole handed over. */
  #next(): void {
    const stream = this.#stream;
    if (this.#isClosed || this.#takeBack !== undefined || stream === undefined) return;
    const ready = this.#ready();
    if (ready === 0) return;
    const takeBack = this.#bill.run(ready, () => {
      const isLater = this.#takeBack !== undefined;
      this.#takeBack = undefined;
      this.#handOver(stream, this.#received.subarray(0, ready));
      if (isLater && this.#takeBack === undefined && !this.#isClosed) this.#reader.resume();
    });
    // What was done at once may have left more to wait for.
    if (takeBack !== undefined) this.#takeBack = takeBack;
  }

  /** @returns how much there is for TLS: whole records */
  #ready(): number {
    const room = MOST_BYTES - this.#fed;
    const ready = wholeRecords(this.#received, room);
    if (ready === 0 && (recordLength(this.#received, 0) ?? 0) > room) this.#fail(tooLarge());
    return ready;
  }

  /** At once, for OpenSSL takes what it found wrong with a chain for an error of its own where it has to wait after it. */
  #handOver(stream: TLSSocket, records: Buffer): void {
    if (this.#isClosed || stream.destroyed) return;
    const handle = handleOf(stream);
    this.#received = this.#received.subarray(records.length);
    this.#fed += records.length;
    handle.receive(records);
    // Not in `done`, for TLS is in the midst of a record then.
    if (this.#isDone) this.#complete(handle);
    else if (this.#isEnded) this.#fail(gone());
    else if (!stream.destroyed) this.#next();
  }

  #complete(handle: Handle): void {
    if (this.#isClosed) return;
    this.#bill.settle();
    this.close();
    // What the peer said after its handshake.
    if (this.#received.length > 0) handle.receive(this.#received);
  }
}

function descriptorOf(transport: Socket, duplicate: Reading["duplicate"]): number {
  try {
    return duplicate(transport);
  } catch (error) {
    throw new MeshProxyError("too_many_connections", "there is no file descriptor for a handshake", {
      got: reason(error as Error),
      hint: "raise the limit of open files (RLIMIT_NOFILE)",
      cause: error,
    });
  }
}

function handleOf(stream: TLSSocket): Handle {
  const { _handle: handle } = stream as { readonly _handle?: Partial<Handle> | null };
  if (typeof handle?.receive !== "function" || typeof handle.readStart !== "function") {
    throw new Error("this Node has no handle of TLS that bytes can be given to");
  }
  return handle as Handle;
}

function gone(): Error {
  return Object.assign(new Error("the peer went away during its handshake"), { code: "ECONNRESET" });
}

/** It connected to see whether somebody listens, as a probe of Kubernetes does. */
function left(): MeshProxyError {
  return new MeshProxyError("client_gone", "the client left without a word");
}

function tooLarge(): MeshProxyError {
  return new MeshProxyError("handshake_too_large", "the peer sends more than a handshake takes", {
    want: `at most ${MOST_BYTES} bytes`,
    hint: "its chain of certificates is too long: one of the mesh has two",
  });
}
