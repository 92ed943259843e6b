import { type Leg, reset } from "../leg.ts";
import type { Kernel, TcpFacts } from "../kernel.ts";
import type { Rounds, Visited } from "./rounds.ts";

/** How often to look, in milliseconds; the times below are counts of it. */
export const FAREWELL_MS = 100;

/**
 * A client that has sent nothing for so long is not about to, and the longest time that it gets for it. Where the answer
 * may be a part of one, the client is to learn that soon.
 */
const QUIET = { broken: 5, ended: 50 } as const;
const LONGEST = { broken: 50, ended: 300 } as const;

export interface FarewellOptions {
  /** The connection that is left. */
  readonly leg: Leg;
  readonly lookAt: Kernel["lookAt"];
  /** What has to be delivered is given up when the peer takes none of it for so long, in milliseconds. */
  readonly stalledMs: number;
  readonly rounds: Rounds;
  /** Whether what is delivered ends as it should: if not, the end must be a reset. */
  readonly ending: "broken" | "ended";
  /** Whether it may still be sending, and fail at that before it reads: a client that has been answered. */
  readonly isSending: boolean;
}

/**
 * The last time of a connection whose other side is gone: what that side said is delivered, and then the connection is
 * reset. A reset makes the kernel forget what the peer has not acknowledged, so that is waited for. A client that is still
 * sending what nobody takes any more gets a little time: a reset would meet it in the midst of that (RFC 9112 §9.6).
 */
export class Farewell implements Visited {
  readonly #options: FarewellOptions;
  #isWritten = false;
  #before: TcpFacts | undefined;
  #stalled = 0;
  #quiet = 0;
  #since = 0;

  constructor(options: FarewellOptions) {
    this.#options = options;
    options.rounds.add(this);
  }

  /** All that is to be delivered has been written, and the direction has been ended where it is to be. */
  written(): void {
    this.#isWritten = true;
    this.look();
  }

  look(): void {
    const { leg, lookAt, rounds } = this.#options;
    const now = lookAt(leg.transport);
    const before = this.#before;
    this.#before = now;
    if (leg.transport.destroyed) rounds.remove(this);
    else if (now === undefined || now.isClosed || this.#isOver(now, before)) this.#end();
  }

  #isOver(now: TcpFacts, before: TcpFacts | undefined): boolean {
    const { isSending, ending, leg, stalledMs } = this.#options;
    if (!this.#isWritten || !now.isAcknowledged) {
      this.#stalled = now.acknowledged === before?.acknowledged ? this.#stalled + 1 : 0;
      return this.#stalled * FAREWELL_MS >= stalledMs;
    }
    this.#quiet = now.received === before?.received ? this.#quiet + 1 : 0;
    this.#since++;
    if (!isSending || leg.stream.readableEnded) return true;
    return this.#quiet >= QUIET[ending] || this.#since >= LONGEST[ending];
  }

  #end(): void {
    this.#options.rounds.remove(this);
    reset(this.#options.leg);
  }
}
