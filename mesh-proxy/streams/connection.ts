import type { Socket } from "node:net";
import type { Joined } from "../observe/access-log.ts";
import type { Outcome } from "../observe/metrics.ts";
import type { Splice } from "./carry/splice.ts";
import type { Splicer } from "./carry/splicer.ts";
import type { OpenConnection, RuleMetrics } from "./counts.ts";
import { ConnectionFault } from "./fault.ts";
import { describe } from "./joined.ts";
import { plainLeg, reset } from "./leg.ts";
import { ignore } from "./tcp.ts";
import type { Guest } from "./limits/guests.ts";
import type { Watched } from "./limits/memory-watch.ts";
import type { Handshakes, Route } from "./route.ts";
import type { Telemetry } from "./telemetry.ts";

/** A connection that was accepted. */
export interface Accepted {
  readonly transport: Socket;
  /** Who it is counted for. */
  readonly source: string;
  /** Address and port of the client, and those that it connected to. */
  readonly peer: string;
  readonly local: string;
  readonly port: number;
  readonly rule: string;
  readonly counts: RuleMetrics;
}

/** What the connections of one route have in common. */
export interface OfRoute {
  readonly route: Route;
  readonly telemetry: Telemetry;
  readonly splicer: Splicer;
  /** Tells the log. @returns the code */
  readonly say: (error: unknown, who: Accepted) => string;
}

/** One connection, from its beginning to its end. */
export class Connection implements OpenConnection, Guest, Watched {
  readonly carried = { up: 0, down: 0 };
  readonly #of: OfRoute;
  readonly #accepted: Accepted;
  readonly since: number;
  /** Whose bytes they are: of egress, everything is the application's, and the upstream is who does not take it. */
  readonly source: string;
  sockets: readonly Socket[];
  /** Gives its place free. */
  #leave = ignore;
  #ended = ignore;
  #joined: Joined | undefined;
  #splice: Splice | undefined;
  #displaced: ConnectionFault | undefined;

  constructor(of: OfRoute, accepted: Accepted) {
    this.#of = of;
    this.#accepted = accepted;
    this.since = of.telemetry.clock();
    const { plan } = of.route;
    this.source = plan.direction === "ingress" ? accepted.source : `to ${plan.to}`;
    this.sockets = [accepted.transport];
  }

  get isPending(): boolean {
    return this.#splice === undefined;
  }

  get waiting(): number {
    return this.#splice?.waiting ?? 0;
  }

  displace(): void {
    this.#leave();
    this.#abort(new ConnectionFault("too_many_connections", "it made room for another one"));
  }

  shed(): void {
    this.#abort(new ConnectionFault("too_many_bytes_waiting"));
  }

  stop(): void {
    this.#abort(new ConnectionFault("connection_broken", "the proxy ended before the connection"));
  }

  #abort(error: ConnectionFault): void {
    this.#displaced = error;
    if (this.#splice === undefined) reset(plainLeg(this.#accepted.transport));
    else this.#splice.abort(error);
  }

  /** @param ended called when nothing of it is left */
  async begin(leave: () => void, ended: () => void): Promise<void> {
    this.#leave = leave;
    this.#ended = ended;
    const { transport, counts } = this.#accepted;
    counts.opened(this);
    this.#of.telemetry.memory.add(this);
    const { route, telemetry, splicer } = this.#of;
    try {
      const legs = await route.connect(transport, this.#handshakes());
      if (telemetry.accessLog !== undefined) this.#joined = describe(legs);
      const both = [transport, legs.upstream.transport];
      this.sockets = both;
      this.#splice = splicer.join(legs, {
        heldBytes: telemetry.admission.heldBytes,
        source: this.source,
        carried: this.carried,
        ended: (error) => {
          if (error === undefined) this.#close("completed", null, both);
          else this.#close("broken", this.#of.say(error, this.#accepted), both);
        },
      });
    } catch (error) {
      reset(plainLeg(transport));
      this.#close("refused", this.#of.say(this.#displaced ?? error, this.#accepted), [transport]);
    }
  }

  /** Those of clients take turns; those with upstreams are the proxy's own. */
  #handshakes(): Handshakes {
    const { transport, source, counts } = this.#accepted;
    const { route, telemetry } = this.#of;
    const timed = async <T>(handshake: () => Promise<T>): Promise<T> => {
      const start = telemetry.clock();
      const result = await handshake();
      counts.handshakes.observe((telemetry.clock() - start) / 1000);
      return result;
    };
    if (route.plan.direction === "egress") return { run: timed };
    return { run: async (handshake) => telemetry.admission.handshake(transport, source, async () => timed(handshake)) };
  }

  /** A peer that does not read may take its time for what is still to be written. That, too, is an open connection. */
  #close(outcome: Outcome, reason: string | null, sockets: readonly Socket[]): void {
    let open = sockets.length;
    const closed = (): void => {
      if (--open === 0) this.#end(outcome, reason);
    };
    for (const socket of sockets) {
      if (socket.closed) closed();
      else socket.once("close", closed);
    }
  }

  #end(outcome: Outcome, reason: string | null): void {
    const { rule, peer, local, counts } = this.#accepted;
    const { route, telemetry } = this.#of;
    telemetry.memory.remove(this);
    counts.closed(this);
    counts.end(outcome, reason ?? "");
    telemetry.accessLog?.write({
      direction: route.plan.direction,
      rule,
      listener: local,
      peer,
      ...this.#joined,
      ...this.carried,
      durationMs: Math.round(telemetry.clock() - this.since),
      outcome,
      reason,
    });
    this.#leave();
    this.#ended();
  }
}
