import type { Socket } from "node:net";
import { type CipherNameAndProtocol, TLSSocket } from "node:tls";
import type { Refusal } from "../../runtime/refusal-log.ts";
import { sourceOf } from "../../runtime/source.ts";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Joined, TlsFacts } from "../observe/access-log.ts";
import { FaultLog } from "../observe/fault-log.ts";
import type { DataPath, Splice } from "./carry/data-path.ts";
import { MeshProxyError } from "../faults.ts";
import type { Guest } from "./limits/guests.ts";
import { tooManyBytes } from "./limits/held-bytes.ts";
import { ignore, type Legs, plainLeg, reset } from "./leg.ts";
import type { OpenConnection, Outcome, RuleMetrics } from "../observe/metrics.ts";
import type { Watched } from "./limits/memory-watch.ts";
import type { Handshakes, Route } from "./route.ts";
import type { Telemetry } from "../telemetry.ts";

export interface ConnectionsOptions {
  readonly telemetry: Telemetry;
  readonly dataPath: DataPath;
  readonly log: Logger;
}

/** The connections of one route: limited, counted and logged. */
export class Connections {
  readonly route: Route;
  readonly telemetry: Telemetry;
  readonly dataPath: DataPath;
  readonly #at: string;
  readonly #faults: FaultLog;
  readonly #open = new Set<Connection>();

  constructor(route: Route, { telemetry, dataPath, log }: ConnectionsOptions) {
    this.route = route;
    this.telemetry = telemetry;
    this.dataPath = dataPath;
    this.#at = formatEndpoint(route.at);
    this.#faults = new FaultLog(log);
    // So that its counters are there, at zero, before the first connection.
    telemetry.metrics.rule(route.direction, route.ruleOf(route.at.port));
  }

  /**
   * Never throws: no connection may touch another one.
   *
   * @param ended called when nothing of it is left
   */
  serve(transport: Socket, ended: () => void): void {
    const { direction, ruleOf } = this.route;
    const { admission, metrics } = this.telemetry;
    // Now, because a connection that is gone can't say any more where it came from.
    const { remoteAddress, remotePort = 0, localPort = 0 } = transport;
    const peer = formatEndpoint({ host: remoteAddress ?? "?", port: remotePort });
    // Egress has one: the application.
    const source = direction === "ingress" && remoteAddress !== undefined ? sourceOf(remoteAddress) : "";
    const rule = ruleOf(localPort);
    const counts = metrics.rule(direction, rule);
    const connection = new Connection(this, { transport, source, peer, rule, counts });
    let leave: () => void;
    try {
      leave = admission.enter(direction, this.#at, source, connection);
    } catch (error) {
      reset(plainLeg(transport));
      counts.end("refused", this.say(error, { peer, source }));
      ended();
      return;
    }
    this.#open.add(connection);
    void connection.begin(leave, () => {
      this.#open.delete(connection);
      ended();
    });
  }

  resetAll(): void {
    for (const connection of this.#open) connection.stop();
  }

  /** Tells the log. @returns the code */
  say(error: unknown, who: Pick<Refusal, "peer" | "source">): string {
    return this.#faults.say(error, who);
  }
}

interface Accepted {
  readonly transport: Socket;
  /** Who it is counted for. */
  readonly source: string;
  /** For the log. */
  readonly peer: string;
  readonly rule: string;
  readonly counts: RuleMetrics;
}

/** One connection, from its beginning to its end. What it keeps while it is open, it keeps as often as there are others. */
class Connection implements OpenConnection, Guest, Watched {
  readonly carried = { up: 0, down: 0 };
  readonly #of: Connections;
  readonly #accepted: Accepted;
  readonly since: number;
  /** Whose bytes they are: of egress, everything is the application's, and the upstream is who does not take it. */
  readonly source: string;
  sockets: readonly Socket[];
  /** Gives its place free. */
  #leave = ignore;
  #ended = ignore;
  /** For the access log. */
  readonly #listener: string | undefined;
  #joined: Joined | undefined;
  #splice: Splice | undefined;
  #displaced: MeshProxyError | undefined;

  constructor(connections: Connections, accepted: Accepted) {
    this.#of = connections;
    this.#accepted = accepted;
    this.since = connections.telemetry.clock();
    this.source = connections.route.direction === "ingress" ? accepted.source : `to ${connections.route.to}`;
    this.sockets = [accepted.transport];
    const { localAddress = "?", localPort = 0 } = accepted.transport;
    if (connections.telemetry.accessLog !== undefined) {
      this.#listener = formatEndpoint({ host: localAddress, port: localPort });
    }
  }

  get isPending(): boolean {
    return this.#splice === undefined;
  }

  get waiting(): number {
    return this.#splice?.waiting ?? 0;
  }

  displace(): void {
    this.#leave();
    this.#abort(new MeshProxyError("too_many_connections", "the connection made room for another one"));
  }

  shed(): void {
    this.#abort(tooManyBytes());
  }

  stop(): void {
    this.#abort(new MeshProxyError("connection_broken", "the proxy ended before the connection"));
  }

  #abort(error: MeshProxyError): void {
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
    const { route, telemetry, dataPath } = this.#of;
    try {
      const legs = await route.connect(transport, this.#handshakes());
      if (telemetry.accessLog !== undefined) this.#joined = describe(legs);
      const both = [transport, legs.upstream.transport];
      this.sockets = both;
      this.#splice = dataPath.join(legs, {
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
    if (route.direction === "egress") return { source, run: timed };
    return {
      source,
      run: async (handshake) => telemetry.admission.handshake(transport, source, async () => timed(handshake)),
    };
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
    const { rule, peer, counts } = this.#accepted;
    const { route, telemetry } = this.#of;
    telemetry.memory.remove(this);
    counts.closed(this);
    counts.end(outcome, reason ?? "");
    telemetry.accessLog?.write({
      direction: route.direction,
      rule,
      listener: this.#listener ?? "?",
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

/** Now, because TLS that has ended can't say any more what it was. */
function describe({ downstream, upstream, upstreamCertificate }: Legs): Joined {
  const { remoteAddress: host = "?", remotePort: port = 0 } = upstream.transport;
  const address = formatEndpoint({ host, port });
  const stream = [downstream.stream, upstream.stream].find((stream) => stream instanceof TLSSocket);
  if (stream === undefined) return { upstream: address, names: [], tls: null };
  const certificate = upstreamCertificate ?? stream.getPeerX509Certificate();
  // Node escapes commas inside a name: none can pose as two.
  return { upstream: address, names: certificate?.subjectAltName?.split(", ") ?? [], tls: tlsFacts(stream) };
}

function tlsFacts(stream: TLSSocket): TlsFacts {
  const group = stream.getEphemeralKeyInfo();
  // Node's types leave out that a socket whose peer has just gone has none.
  const cipher = stream.getCipher() as CipherNameAndProtocol | null;
  return {
    version: stream.getProtocol(),
    cipher: cipher?.standardName ?? null,
    ...(group !== null && "name" in group && group.name !== undefined ? { group: group.name } : {}),
    resumed: stream.isSessionReused(),
  };
}
