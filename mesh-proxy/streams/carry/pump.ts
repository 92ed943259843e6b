import { TLSSocket } from "node:tls";
import type { Carried } from "../../observe/metrics.ts";
import { type Leg, unread } from "../leg.ts";

export interface PumpOptions {
  readonly source: Leg;
  readonly sink: Leg;
  /** Is counted up. */
  readonly carried: Carried;
  readonly flow: keyof Carried;
  /** What is held has changed. */
  readonly changed: () => void;
}

/**
 * Carries the bytes of one direction, in order, from when its source is resumed. One piece is written at a time, and the
 * source stands still meanwhile: it reads one piece ahead (`READ_AHEAD`). So less than 256 KiB wait, however slow the reader
 * is and however small the pieces are.
 */
export class Pump {
  readonly #options: PumpOptions;
  /** Bytes of the write that is under way. */
  #writing = 0;
  #isDropping = false;
  /** What is to be done when all is written. */
  #finish: (() => void) | undefined;

  constructor(options: PumpOptions) {
    this.#options = options;
    options.source.stream.on("data", (bytes: Buffer) => this.#take(bytes));
  }

  /** How many bytes wait for the sink to take them. */
  get waiting(): number {
    return this.#writing;
  }

  /** Whether nobody reads the source, because the sink has not taken what came before. */
  get isStopped(): boolean {
    return this.#writing > 0;
  }

  /** How much memory that takes: of TLS, what was written waits once more, encrypted. */
  get held(): number {
    if (this.#writing === 0) return 0;
    const { source, sink } = this.#options;
    return (sink.stream instanceof TLSSocket ? 2 : 1) * this.#writing + unread(source);
  }

  /** The source has ended. @param then is called when all that it said is written, if it ever is */
  finish(then: () => void): void {
    this.#finish = then;
    if (this.#writing === 0 && !this.#isDropping) then();
  }

  /** The sink takes no more, or nobody is left who could tell what for: what comes is read and forgotten. */
  drop(): void {
    const { source, changed } = this.#options;
    this.#isDropping = true;
    this.#writing = 0;
    changed();
    if (!source.stream.destroyed) source.stream.resume();
  }

  #take(bytes: Buffer): void {
    if (this.#isDropping) return;
    const { source, sink, carried, flow, changed } = this.#options;
    carried[flow] += bytes.length;
    this.#writing = bytes.length;
    source.stream.pause();
    sink.stream.write(bytes, (error) => {
      if (error === undefined || error === null) this.#written();
    });
    changed();
  }

  #written(): void {
    if (this.#isDropping) return;
    this.#writing = 0;
    this.#finish?.();
    this.#options.source.stream.resume();
    this.#options.changed();
  }
}
