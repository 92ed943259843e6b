import type { Carried, DataPath, JoinOptions, Splice } from "./data-path.ts";
import { MeshProxyError, reason } from "../../faults.ts";
import { type HeldBytes, Holding, tooManyBytes } from "../limits/held-bytes.ts";
import { type Leg, type Legs, probeSooner, reset } from "../leg.ts";
import type { LookAt } from "../kernel.ts";
import { Farewell, FAREWELL_MS } from "./farewell.ts";
import { Pump, type Store } from "./pump.ts";
import { Rounds, type Visited } from "./rounds.ts";

export interface Times {
  /** How often to look at the connections that nobody reads, in milliseconds. */
  readonly lookMs: number;
  /** What a peer said before it went away is given up when the other one takes none of it for so long. */
  readonly stalledMs: number;
}

const TIMES: Times = { lookMs: 2_000, stalledMs: 60_000 };

/** What all connections have in common. */
interface Surroundings extends Times {
  readonly lookAt: LookAt;
  readonly all: Rounds;
  readonly farewells: Rounds;
}

/** The data path on Node's streams, by their public interface. */
export function streams(lookAt: LookAt, times = TIMES): DataPath {
  const surroundings = { ...times, lookAt, all: new Rounds(times.lookMs), farewells: new Rounds(FAREWELL_MS) };
  return { join: (legs, options) => new StreamSplice(legs, options, surroundings) };
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

/** The end of TCP under TLS without the peer's closing alert: close-notify.ts makes it an error of the stream. */
class StreamSplice implements Splice, Store, Visited {
  readonly #client: End;
  readonly #upstream: End;
  readonly #surroundings: Surroundings;
  readonly #carried: Carried;
  readonly #ended: JoinOptions["ended"];
  /** Of the two, until it has been said how they ended. */
  #open = 2;
  readonly #heldBytes: HeldBytes;
  readonly #holding: Holding;
  #held = 0;

  constructor(
    { downstream, upstream }: Legs,
    { carried, ended, heldBytes, source }: JoinOptions,
    surroundings: Surroundings,
  ) {
    this.#carried = carried;
    this.#ended = ended;
    this.#surroundings = surroundings;
    this.#heldBytes = heldBytes;
    this.#holding = new Holding(source, () => this.abort(tooManyBytes()));
    this.#client = this.#begin("client", "up", downstream, upstream);
    this.#upstream = this.#begin("upstream", "down", upstream, downstream);
    surroundings.all.add(this);
    this.#listen(this.#client, this.#upstream);
    this.#listen(this.#upstream, this.#client);
    downstream.stream.resume();
    upstream.stream.resume();
  }

  #begin(peer: End["peer"], flow: keyof Carried, leg: Leg, other: Leg): End {
    const { stream: source } = leg;
    const { stream: sink } = other;
    const refused = (error: Error): void => {
      if (peer === "client") this.#refused(this.#upstream, this.#client, error);
      else this.#refused(this.#client, this.#upstream, error);
    };
    const pump = new Pump({ source, sink, carried: this.#carried, flow, store: this, refused });
    const state = {
      hasEnded: false,
      isBroken: false,
      refusal: undefined,
      isProbedSooner: false,
      carried: 0,
      stalled: 0,
    };
    return { leg, peer, pump, flow, ...state };
  }

  #listen(end: End, other: End): void {
    const { stream } = end.leg;
    stream.on("error", (error) => this.#broke(end, other, error));
    stream.on("close", () => this.#closed(end, other));
    if (stream.destroyed) this.#broke(end, other, new Error("closed"));
    else if (stream.readableEnded) this.#over(end, other);
    else stream.on("end", () => this.#over(end, other));
  }

  get waiting(): number {
    return this.#client.pump.waiting + this.#upstream.pump.waiting;
  }

  get isShort(): boolean {
    return this.#heldBytes.isShortFor(this.#holding.source);
  }

  holds(more: number): void {
    this.#held += more;
    this.#heldBytes.set(this.#holding, this.#held);
  }

  abort(error: MeshProxyError): void {
    for (const end of [this.#client, this.#upstream]) {
      end.isBroken = true;
      end.pump.drop();
      reset(end.leg);
    }
    this.#say(error);
  }

  look(): void {
    this.#lookAt(this.#client, this.#upstream);
    this.#lookAt(this.#upstream, this.#client);
  }

  /**
   * libuv says nothing of a connection that is not being read: because its peer has ended its direction, or because what it
   * said before has not been taken yet. If the peer is gone, nobody will wait for an answer, and none will come.
   */
  #lookAt(end: End, other: End): void {
    const { leg, pump } = end;
    if (end.isBroken || leg.stream.destroyed || leg.stream.writableEnded) return;
    if (end.hasEnded && !end.isProbedSooner) {
      end.isProbedSooner = true;
      probeSooner(leg.transport);
    }
    if (!end.hasEnded && !pump.isStopped) return;
    if (this.#surroundings.lookAt(leg.transport)?.isClosed !== true) return;
    if (end.hasEnded) {
      this.#broke(end, other, gone());
      return;
    }
    // What it said before it went away waits in the kernel. It is read as soon as the other one takes it.
    const carried = this.#carried[end.flow];
    end.stalled = carried === end.carried ? end.stalled + this.#surroundings.lookMs : 0;
    end.carried = carried;
    if (end.stalled >= this.#surroundings.stalledMs) this.abort(broken(end, gone()));
  }

  #say(error?: MeshProxyError): void {
    if (this.#open < 0) return;
    // It is said once.
    this.#open = -1;
    this.#surroundings.all.remove(this);
    this.#ended(error);
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

  #closed(end: End, other: End): void {
    const { readableEnded, writableFinished } = end.leg.stream;
    if (!readableEnded || !writableFinished) this.#broke(end, other, new Error("closed"));
    else if (--this.#open === 0) this.#say();
  }

  /** It takes nothing more. What it said is read to the end all the same. */
  #refused(end: End, other: End, error: Error): void {
    if (end.isBroken || end.leg.stream.destroyed) return;
    end.refusal = error;
    other.pump.drop();
    if (end.hasEnded || other.isBroken || !isOfSystem(error)) this.#broke(end, other, error);
  }

  #broke(end: End, other: End, error: Error): void {
    if (end.isBroken) return;
    end.isBroken = true;
    reset(end.leg);
    this.#say(broken(end, error));
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

function broken({ peer }: End, error: Error): MeshProxyError {
  const got = reason(error);
  const code = got.startsWith("ERR_SSL_") ? "tls_alert" : "connection_broken";
  return new MeshProxyError(code, `the connection to the ${peer} broke`, { got, cause: error });
}

function gone(): Error {
  return Object.assign(new Error("the peer is gone"), { code: "ECONNRESET" });
}

/** Whether the system made it, not TLS: then the TCP connection is gone, and reading it ends. */
function isOfSystem(error: Error): boolean {
  return "syscall" in error;
}

/** Linux says EPIPE of a reset that came after the peer's FIN (tcp_reset in net/ipv4/tcp_input.c), and ECONNRESET before it. */
function isAfterEnd(error: Error): boolean {
  return reason(error) === "EPIPE";
}
