import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Carried } from "./data-path.ts";
import { LONGEST_PIECE, LONGEST_RECORD, READ_AHEAD } from "../read-ahead.ts";

/** When so much is gathered behind a write, the source stands still. Where memory is short, it does so behind any write. */
const MOST_BEHIND = 16 * 1024;

/** What a connection may hold without a word about it: its place has room for that. */
const SILENTLY = 4 * 1024;

/** Who is told what waits. */
export interface Store {
  /** Whether little is to wait. */
  readonly isShort: boolean;
  /** So many bytes more are held than before. */
  holds(more: number): void;
}

export interface PumpOptions {
  readonly source: Socket;
  readonly sink: Socket;
  /** Is counted up. */
  readonly carried: Carried;
  readonly flow: keyof Carried;
  readonly store: Store;
  /** The sink takes no more, and why. It is not destroyed for that: what it said is still to be read. */
  readonly refused: (error: Error) => void;
}

/**
 * Carries the bytes of one direction, in order, from when its source is resumed.
 *
 * What waits is bounded: one write is under way, and what comes meanwhile is gathered behind it, in one buffer, however
 * small the pieces are. The source stands still when that is enough: less than 256 KiB, however slow the reader is.
 */
export class Pump {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #carried: Carried;
  readonly #flow: keyof Carried;
  readonly #store: Store;
  readonly #refused: PumpOptions["refused"];
  readonly #isShort: boolean;
  readonly #longestPiece: number;
  /** The most that the source has when it has just been told to stand still. */
  readonly #mostAhead: number;
  /** Bytes of the write that is under way. */
  #writing = 0;
  #behind = new Gathered();
  #isStopped = false;
  #isDropping = false;
  /** What is to be done when all is written. */
  #finish: (() => void) | undefined;
  /** As the store knows it. */
  #held = 0;

  constructor({ source, sink, carried, flow, store, refused }: PumpOptions) {
    this.#source = source;
    this.#sink = sink;
    this.#carried = carried;
    this.#flow = flow;
    this.#store = store;
    this.#refused = refused;
    this.#isShort = store.isShort;
    const isTls = source instanceof TLSSocket;
    this.#longestPiece = isTls ? LONGEST_RECORD : LONGEST_PIECE;
    this.#mostAhead = isTls ? LONGEST_PIECE : 0;
    source.on("data", (bytes: Buffer) => this.#take(bytes));
    const write = sink._write.bind(sink);
    sink._write = (bytes: Buffer, encoding, written) =>
      write(bytes, encoding, (error) => {
        if (error !== undefined && error !== null) this.#fail(error);
        written();
      });
  }

  /** How many bytes wait for the sink to take them. */
  get waiting(): number {
    return this.#writing + this.#behind.length;
  }

  /** Whether nobody reads the source, because the sink has not taken what came before. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** The source has ended. @param then is called when all that it said is written, if it ever is */
  finish(then: () => void): void {
    this.#finish = then;
    if (this.#writing === 0 && !this.#isDropping) then();
  }

  /** The sink takes no more, or nobody is left who could tell what for: what comes is read and forgotten. */
  drop(): void {
    this.#isDropping = true;
    this.#writing = 0;
    this.#behind.takeAll();
    this.#isStopped = false;
    this.#tellStore();
    if (!this.#source.destroyed) this.#source.resume();
  }

  #take(bytes: Buffer): void {
    if (this.#isDropping) return;
    const isEnough = this.#isEnough(bytes.length);
    const taken = isEnough ? bytes.subarray(0, -READ_AHEAD) : bytes;
    this.#carried[this.#flow] += taken.length;
    if (this.#writing > 0) this.#behind.add(taken);
    else this.#write(taken);
    if (isEnough) {
      this.#isStopped = true;
      this.#source.pause();
      // A stream that is paused reads on until it has something.
      this.#source.unshift(bytes.subarray(-READ_AHEAD));
    }
    this.#tellStore();
  }

  /**
   * Whether the source is to stand still when so much has come: also where there is more, which libuv would read now, and
   * much more. What is small is passed on as it is.
   */
  #isEnough(length: number): boolean {
    if (this.#writing > 0) return this.#isShort || this.#behind.length + length > MOST_BEHIND;
    return length >= this.#longestPiece || (this.#isShort && length > SILENTLY);
  }

  #write(bytes: Buffer): void {
    this.#writing = bytes.length;
    this.#sink.write(bytes, (error) => {
      if (error === undefined || error === null) this.#written();
    });
  }

  /**
   * A stream that can't be written to is destroyed by Node, and with it what its peer said before and nobody has read yet:
   * the answer of a server, for one, that refuses an upload and closes. So the stream does not hear of it.
   */
  #fail(error: Error): void {
    if (this.#isDropping) return;
    this.#isDropping = true;
    // Not now: it may be in the midst of the write.
    process.nextTick(this.#refused, error);
  }

  #written(): void {
    if (this.#isDropping) return;
    this.#writing = 0;
    const behind = this.#behind.takeAll();
    if (behind.length > 0) this.#write(behind);
    else this.#finish?.();
    const isResuming = this.#isStopped;
    this.#isStopped = false;
    this.#tellStore();
    // Others have their turn first.
    if (isResuming) setImmediate(() => this.#source.resume());
  }

  /** Of TLS, what was written waits once more, encrypted. A source of TLS that stands still may have records that nobody took. */
  #tellStore(): void {
    const written = this.#sink instanceof TLSSocket ? 2 * this.#writing : this.#writing;
    const held = written + this.#behind.capacity + (this.#isStopped ? this.#mostAhead : 0);
    if (held === this.#held || (held <= SILENTLY && this.#held === 0)) return;
    this.#store.holds(held - this.#held);
    this.#held = held;
  }
}

const NOTHING = Buffer.alloc(0);

/** Bytes in one buffer, which grows with them. */
class Gathered {
  length = 0;
  #buffer: Buffer = NOTHING;

  get capacity(): number {
    return this.#buffer.length;
  }

  add(bytes: Buffer): void {
    const length = this.length + bytes.length;
    if (length > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, Math.min(2 * length, MOST_BEHIND)));
      this.#buffer.copy(larger, 0, 0, this.length);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, this.length);
    this.length = length;
  }

  /** @returns all of them; none is left */
  takeAll(): Buffer {
    const all = this.#buffer.subarray(0, this.length);
    this.#buffer = NOTHING;
    this.length = 0;
    return all;
  }
}
