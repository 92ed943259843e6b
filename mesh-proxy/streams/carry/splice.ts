import { reason } from "../../faults.ts";
import type { Carried } from "../../observe/metrics.ts";
import { ConnectionFault } from "../fault.ts";
import type { Kernel } from "../kernel.ts";
import { type Leg, type Legs, reset, unread } from "../leg.ts";
import { probeSooner } from "../tcp.ts";
import { type HeldBytes, Holding } from "../limits/held-bytes.ts";
import { onWriteError } from "../write-errors.ts";
import { Farewell } from "./farewell.ts";
import { Pump } from "./pump.ts";
import type { Rounds, Visited } from "./rounds.ts";

/** What all connections have in common. */
export interface Surroundings {
  readonly lookAt: Kernel["lookAt"];
  /** As `STALLED_MS`. */
  readonly stalledMs: number;
  /** How often to look at the connections that nobody reads, in milliseconds. */
  readonly lookMs: number;
  readonly all: Rounds;
  readonly farewells: Rounds;
}

export interface SpliceOptions {
  readonly heldBytes: HeldBytes;
  /** Whose bytes they are. */
  readonly source: string;
  /** Is counted up. */
  readonly carried: Carried;
  /**
   * Called once: both connections have ended cleanly; or with `connection_broken` or `tls_alert` one broke, and the other
   * one is about to end; or both were reset by `abort`.
   */
  readonly ended: (fault?: ConnectionFault) => void;
}

/** One of the two connections. */
interface End {
  readonly leg: Leg;
  /** The peer that it leads to. */
  readonly peer: "client" | "upstream";
  /** Carries what comes from it. */
  readonly pump: Pump;
  readonly flow: keyof Carried;
  /** Nothing more comes from it, cleanly. */
  hasEnded: boolean;
  /** It is gone, or nothing more comes from it after a part of something. */
  isBroken: boolean;
  /** Why it takes nothing more. */
  refusal: Error | undefined;
  isProbedSooner: boolean;
  /** As of the last look at it, where it was reset while nobody read it. */
  carried: number;
  stalled: number;
}

/**
 * Two connections that are joined, from when both are there to their end:
 *
 * - Each direction ends by itself, after its last byte.
 * - Of a leg that breaks, the other one is reset, after all that the broken one had said. The end of TCP under TLS without the
 *   peer's closing alert is no end, but a break. Bytes that a leg does not take don't break it while it has something to say.
 * - A peer that is gone is noticed also while nobody reads its leg.
 */
export class Splice implements Visited {
  readonly #client: End;
  readonly #upstream: End;
  readonly #surroundings: Surroundings;
  readonly #carried: Carried;
  readonly #ended: SpliceOptions["ended"];
  /** Of the two, until it has been said how they ended. */
  #open = 2;
  readonly #heldBytes: HeldBytes;
  readonly #holding: Holding;

  constructor(
    { downstream, upstream }: Legs,
    { carried, ended, heldBytes, source }: SpliceOptions,
    surroundings: Surroundings,
  ) {
    this.#carried = carried;
    this.#ended = ended;
    this.#surroundings = surroundings;
    this.#heldBytes = heldBytes;
    this.#holding = new Holding(source, () => this.abort(new ConnectionFault("too_many_bytes_waiting")));
    this.#client = this.#begin("client", "up", downstream, upstream);
    this.#upstream = this.#begin("upstream", "down", upstream, downstream);
    surroundings.all.add(this);
    this.#listen(this.#client, this.#upstream);
    this.#listen(this.#upstream, this.#client);
    downstream.stream.resume();
    upstream.stream.resume();
  }

  #begin(peer: End["peer"], flow: keyof Carried, leg: Leg, other: Leg): End {
    const changed = (): void => this.#changed();
    const pump = new Pump({ source: leg, sink: other, carried: this.#carried, flow, changed });
    const state = { hasEnded: false, isBroken: false, refusal: undefined };
    return { leg, peer, pump, flow, ...state, isProbedSooner: false, carried: 0, stalled: 0 };
  }

  #listen(end: End, other: End): void {
    const { stream, transport, wire } = end.leg;
    // Not now: it may be in the midst of the write.
    onWriteError(transport, (error) => process.nextTick(() => this.#refused(end, other, error)));
    stream.on("error", (error) => this.#broke(end, other, error));
    stream.on("close", () => this.#closed(end, other));
    if (stream.destroyed) this.#broke(end, other, new Error("closed"));
    else if (stream.readableEnded) this.#over(end, other);
    else stream.on("end", () => this.#over(end, other));
    wire?.on("lost", () => this.#lost(end, other));
    if (wire?.lost !== undefined) this.#lost(end, other);
  }

  get waiting(): number {
    return this.#client.pump.waiting + this.#upstream.pump.waiting;
  }

  abort(fault: ConnectionFault): void {
    for (const end of [this.#client, this.#upstream]) {
      end.isBroken = true;
      end.pump.drop();
      reset(end.leg);
    }
    this.#say(fault);
  }

  look(): void {
    this.#lookAt(this.#client, this.#upstream);
    this.#lookAt(this.#upstream, this.#client);
    this.#changed();
  }

  /**
   * libuv says nothing of a connection that is not being read: because its peer has ended its direction, or because what it
   * said before has not been taken yet. If the peer is gone, nobody will wait for an answer, and none will come.
   */
  #lookAt(end: End, other: End): void {
    const { leg, pump } = end;
    const { lookAt, lookMs, stalledMs } = this.#surroundings;
    if (end.isBroken || leg.stream.destroyed || leg.stream.writableEnded) return;
    if (end.hasEnded && !end.isProbedSooner) {
      end.isProbedSooner = true;
      probeSooner(leg.transport);
    }
    if (!end.hasEnded && !pump.isStopped) return;
    if (!leg.transport.destroyed && lookAt(leg.transport)?.isClosed !== true) return;
    if (end.hasEnded) {
      this.#broke(end, other, gone());
      return;
    }
    // What it said before it went away waits in the kernel. It is read as soon as the other one takes it.
    const carried = this.#carried[end.flow];
    end.stalled = carried === end.carried ? end.stalled + lookMs : 0;
    end.carried = carried;
    if (end.stalled >= stalledMs) this.abort(broken(gone()));
  }

  #changed(): void {
    const { pump: up, leg: client } = this.#client;
    const { pump: down, leg: upstream } = this.#upstream;
    this.#heldBytes.set(this.#holding, up.held + down.held);
    if (client.wire?.lost !== undefined) this.#lost(this.#client, this.#upstream);
    if (upstream.wire?.lost !== undefined) this.#lost(this.#upstream, this.#client);
  }

  #say(fault?: ConnectionFault): void {
    if (this.#open < 0) return;
    // It is said once.
    this.#open = -1;
    this.#surroundings.all.remove(this);
    this.#ended(fault);
  }

  #over(end: End, other: End): void {
    const { refusal } = end;
    // The kernel tells of a reset once. Who wrote has been told, and who reads is told of an end that was none.
    if (refusal !== undefined && !isAfterEnd(refusal)) {
      this.#broke(end, other, refusal);
      return;
    }
    end.hasEnded = true;
    if (!other.isBroken) end.pump.finish(() => other.leg.stream.end());
    if (refusal !== undefined) this.#broke(end, other, refusal);
  }

  /** TCP under TLS is over. What it brought is carried first; if TLS ends with that, it has ended before. */
  #lost(end: End, other: End): void {
    // Node says in the next tick that a stream has ended.
    setImmediate(() => {
      const { leg, pump } = end;
      const error = leg.wire?.lost;
      if (error === undefined || end.isBroken || pump.isStopped || unread(leg) > 0) return;
      if (!end.hasEnded || (leg.transport.destroyed && !leg.stream.writableFinished)) this.#broke(end, other, error);
    });
  }

  #closed(end: End, other: End): void {
    const { readableEnded, writableFinished } = end.leg.stream;
    if (!readableEnded || !writableFinished) this.#broke(end, other, new Error("closed"));
    else if (--this.#open === 0) this.#say();
  }

  /** It takes nothing more. What it said is read to the end all the same. */
  #refused(end: End, other: End, error: Error): void {
    if (end.isBroken || end.refusal !== undefined || end.leg.transport.destroyed) return;
    end.refusal = error;
    other.pump.drop();
    if (end.hasEnded || other.isBroken) this.#broke(end, other, error);
  }

  #broke(end: End, other: End, error: Error): void {
    if (end.isBroken) return;
    end.isBroken = true;
    reset(end.leg);
    this.#say(broken(error));
    other.pump.drop();
    // Then it was left only to be told what this one had said.
    if (other.isBroken) end.pump.drop();
    else if (other.refusal !== undefined) this.#broke(other, end, other.refusal);
    else this.#takeLeave(other, end);
  }

  #takeLeave(left: End, gone: End): void {
    const { leg } = left;
    const { lookAt, stalledMs, farewells: rounds } = this.#surroundings;
    const isSending = left.peer === "client" && this.#carried.down > 0;
    const ending = gone.hasEnded ? "ended" : "broken";
    const farewell = new Farewell({ leg, lookAt, stalledMs, rounds, ending, isSending });
    if (!gone.hasEnded) gone.pump.finish(() => farewell.written());
    else if (leg.stream.writableFinished) farewell.written();
    else leg.stream.once("finish", () => farewell.written());
  }
}

function broken(error: Error): ConnectionFault {
  const got = reason(error);
  return new ConnectionFault(got.startsWith("ERR_SSL_") ? "tls_alert" : "connection_broken", got);
}

function gone(): Error {
  return Object.assign(new Error("the peer is gone"), { code: "ECONNRESET" });
}

/** Linux says EPIPE of a reset that came after the peer's FIN (tcp_reset in net/ipv4/tcp_input.c), and ECONNRESET before it. */
function isAfterEnd(error: Error): boolean {
  return reason(error) === "EPIPE";
}
