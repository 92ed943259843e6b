import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/**
 * Carries the bytes of one direction, in order, and bounds what waits: one portion on its way into the sink, one behind
 * it. The source stands still while anything is behind. That is at most 256 KiB with what Node itself holds, however
 * slow the reader is and however small the pieces are that come in.
 *
 * Under TLS each record is delivered by itself. Full ones are gathered and written together at the end of the turn of
 * the event loop; one that is not full is the end of a message, and nothing waits for it.
 */

/** Gets what was read. The bytes stand there only until it returns. */
export type Take = (bytes: Buffer) => void;

/** Begins to read from a socket. */
export type Read = (source: Socket, take: Take) => void;

/** By the public interface: Node allocates a new buffer for each read. */
export const readPublic: Read = (source, take) => void source.on("data", take);

/** The most that is read, gathered or written at once. */
export const PORTION = 80 * 1024;

/** RFC 8446 §5.1: the most that a record carries. */
const FULL_RECORD = 16 * 1024;

/** @param count is told of the bytes as they come */
export function pump(source: Socket, sink: Socket, read: Read, count: (bytes: number) => void): void {
  const { take, end } = new Pump(source, sink, count);
  read(source, take);
  if (source.readableEnded) end();
  else source.on("end", end);
}

class Pump {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #count: (bytes: number) => void;
  /** TLS has encrypted what it is given when the write returns; of a plain connection the kernel may not have taken it. */
  readonly #takesAtOnce: boolean;
  #isWriting = false;
  #isScheduled = false;
  #portion: Buffer | undefined;
  #used = 0;

  constructor(source: Socket, sink: Socket, count: (bytes: number) => void) {
    this.#source = source;
    this.#sink = sink;
    this.#count = count;
    this.#takesAtOnce = sink instanceof TLSSocket;
  }

  readonly take: Take = (bytes) => {
    this.#count(bytes.length);
    const isFull = bytes.length === FULL_RECORD;
    if (this.#takesAtOnce && !isFull && this.#used === 0 && this.#sink.writableLength === 0) {
      this.#write(bytes, undefined);
      return;
    }
    this.#gather(bytes);
    if (this.#isWriting) this.#source.pause();
    else if (!isFull || this.#used + FULL_RECORD > PORTION) this.#flush();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(() => this.#endOfTurn());
    }
  };

  readonly end = (): void => {
    if (this.#used > 0) this.#flush();
    this.#sink.end();
  };

  #gather(bytes: Buffer): void {
    let portion = (this.#portion ??= portions.pop() ?? Buffer.allocUnsafeSlow(PORTION));
    if (portion.length - this.#used < bytes.length) {
      // What was on its way when the source was paused.
      portion = Buffer.allocUnsafeSlow(this.#used + bytes.length);
      this.#portion?.copy(portion, 0, 0, this.#used);
      this.#portion = portion;
    }
    bytes.copy(portion, this.#used);
    this.#used += bytes.length;
  }

  #flush(): void {
    const portion = this.#portion;
    if (portion === undefined) return;
    const bytes = portion.subarray(0, this.#used);
    this.#portion = undefined;
    this.#used = 0;
    this.#write(bytes, portion);
  }

  /** @param portion free again when the write is done */
  #write(bytes: Buffer, portion: Buffer | undefined): void {
    if (this.#sink.destroyed) return;
    this.#isWriting = true;
    this.#sink.write(bytes, () => {
      if (portion?.length === PORTION && portions.length < MOST_SPARE) portions.push(portion);
      this.#isWriting = false;
      if (this.#used > 0) this.#flush();
      if (this.#source.isPaused()) this.#source.resume();
    });
  }

  #endOfTurn(): void {
    this.#isScheduled = false;
    if (this.#used > 0 && !this.#isWriting) this.#flush();
  }
}

/** Portions that nothing is in, for whoever needs one next. */
const portions: Buffer[] = [];
const MOST_SPARE = 8;
