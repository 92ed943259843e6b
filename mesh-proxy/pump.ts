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

/** Plain bytes that were taken from one side for the other. Counted as they come, so they stand also where it breaks. */
export interface Carried {
  /** From the near leg, the client, to the far one. */
  up: number;
  down: number;
}

/** What a way of reading and writing tells. */
export interface Carrier {
  /** Takes what was read. The bytes stand there only until it returns. */
  take(bytes: Buffer): void;
  /** What could not be written at once is written now. */
  written(): void;
}

/** How sockets are read and written. */
export interface Way {
  /** Begins to give what is read; also what came before. The socket still stands still. */
  begin(source: Socket, carrier: Carrier): void;
  /** Reads no more, but for what is on its way already. */
  stop(source: Socket): void;
  /** Reads again. */
  go(source: Socket): void;
  /**
   * @returns whether all is written. If not, the carrier hears when it is; until then the bytes must stay as they are, and
   *   nothing else be written
   */
  write(sink: Socket, bytes: Buffer, carrier: Carrier): boolean;
}

/** By the public interface: Node allocates a new buffer for each read, and queues each write. */
export const publicWay: Way = {
  begin: (source, carrier) => void source.on("data", (bytes: Buffer) => carrier.take(bytes)),
  stop: (source) => void source.pause(),
  go: (source) => void source.resume(),
  write(sink, bytes, carrier) {
    sink.write(bytes, (error) => {
      if (error === undefined || error === null) carrier.written();
    });
    return false;
  },
};

/** RFC 8446 §5.1: the most that a record carries. */
const FULL_RECORD = 16 * 1024;

/**
 * The most that is read of a plain connection at once. Each half of it fits, with the 22 bytes that TLS 1.3 adds to each of
 * its four records (RFC 8446 §5.2), into what the kernel sends at once: 64 KiB less headers, in whole segments. What is a
 * little more than that is sent, wakes the peer and is read as one piece more.
 */
export const MOST_READ = 2 * 61 * 1024;

/** The most that is gathered to be written at once: what libuv reads in two turns. */
export const PORTION = 8 * FULL_RECORD;

export interface PumpOptions {
  readonly source: Socket;
  readonly sink: Socket;
  readonly way: Way;
  /** Is counted up. */
  readonly carried: Carried;
  readonly direction: keyof Carried;
}

/**
 * Carries the bytes of one direction from when its source is resumed, and ends the sink after the last one.
 *
 * Few objects are touched for each message: where there are many connections, none of them is in the processor's cache.
 */
export class Pump implements Carrier {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #way: Way;
  readonly #carried: Carried;
  readonly #isUp: boolean;
  /** TLS has encrypted what it is given when the write returns; of a plain connection the kernel may not have taken it. */
  readonly #takesAtOnce: boolean;
  readonly #comesInRecords: boolean;
  #isStopped = false;
  #isGathering = false;
  #isEnding = false;
  /** How many bytes are on their way. */
  #writing = 0;
  /** What they are in, if it is not the source's. */
  #sent: Portion | undefined;
  /** Behind them. */
  #behind: Portion | undefined;

  constructor({ source, sink, way, carried, direction }: PumpOptions) {
    this.#source = source;
    this.#sink = sink;
    this.#way = way;
    this.#carried = carried;
    this.#isUp = direction === "up";
    this.#takesAtOnce = sink instanceof TLSSocket;
    this.#comesInRecords = source instanceof TLSSocket;
    // What is in Node's queue comes first.
    this.#writing = sink.writableLength;
    if (this.#writing > 0) publicWay.write(sink, Buffer.alloc(0), this);
    way.begin(source, this);
    if (source.readableEnded) this.#end();
    else source.on("end", () => this.#end());
  }

  /** How many bytes wait for the sink to take them. */
  get waiting(): number {
    return this.#writing + (this.#behind?.length ?? 0);
  }

  take(bytes: Buffer): void {
    if (this.#isUp) this.#carried.up += bytes.length;
    else this.#carried.down += bytes.length;
    const isFullRecord = this.#comesInRecords && bytes.length === FULL_RECORD;
    if (this.#takesAtOnce && !isFullRecord && this.#behind === undefined && this.#writing === 0) {
      this.#send(bytes);
      // There is more, and libuv would read it now, while this is still on its way.
      if (bytes.length === MOST_READ && this.#writing > 0) this.#stop();
      return;
    }
    const behind = (this.#behind ??= portions.pop() ?? new Portion());
    behind.add(bytes);
    if (this.#writing > 0) this.#stop();
    else if (!isFullRecord || behind.length + FULL_RECORD > PORTION) this.#next();
    else if (!this.#isGathering) {
      this.#isGathering = true;
      atEndOfTurn(this);
    }
  }

  endOfTurn(): void {
    this.#isGathering = false;
    if (this.#writing === 0 && this.#behind !== undefined) this.#next();
  }

  written(): void {
    this.#isWritten();
    if (this.#sink.destroyed) return;
    this.#next();
    if (!this.#isStopped) return;
    this.#isStopped = false;
    this.#way.go(this.#source);
  }

  #end(): void {
    this.#isEnding = true;
    if (this.#writing === 0) this.#next();
  }

  /** Sends what is behind, or the end. */
  #next(): void {
    const behind = this.#behind;
    this.#behind = undefined;
    if (behind !== undefined) {
      this.#sent = behind;
      this.#send(behind.bytes());
    }
    if (this.#isEnding && this.#writing === 0) this.#sink.end();
  }

  #send(bytes: Buffer): void {
    this.#writing = bytes.length;
    if (this.#way.write(this.#sink, bytes, this)) this.#isWritten();
  }

  #isWritten(): void {
    this.#writing = 0;
    this.#sent?.recycle();
    this.#sent = undefined;
  }

  #stop(): void {
    this.#isStopped = true;
    this.#way.stop(this.#source);
  }
}

/** Bytes that are gathered. */
class Portion {
  length = 0;
  #buffer = Buffer.allocUnsafeSlow(PORTION);
  #view = this.#buffer;

  add(bytes: Buffer): void {
    if (this.#buffer.length - this.length < bytes.length) {
      // What was on its way when the source was stopped.
      const larger = Buffer.allocUnsafeSlow(this.length + bytes.length);
      this.#buffer.copy(larger, 0, 0, this.length);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, this.length);
    this.length += bytes.length;
  }

  /** All of them. */
  bytes(): Buffer {
    // Messages of a connection often have the same length.
    if (this.#view.length !== this.length || this.#view.buffer !== this.#buffer.buffer) {
      this.#view = this.#buffer.subarray(0, this.length);
    }
    return this.#view;
  }

  /** Nothing of it is needed any more. */
  recycle(): void {
    this.length = 0;
    if (this.#buffer.length === PORTION && portions.length < MOST_SPARE) portions.push(this);
  }
}

/** Portions that nothing is in, for whoever needs one next. */
const portions: Portion[] = [];
const MOST_SPARE = 8;

let gathering: Pump[] = [];

/** One call of the event loop for all connections. */
function atEndOfTurn(pump: Pump): void {
  if (gathering.push(pump) === 1) setImmediate(endOfTurn);
}

function endOfTurn(): void {
  const pumps = gathering;
  gathering = [];
  for (const pump of pumps) pump.endOfTurn();
}
