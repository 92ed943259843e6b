import type { Socket } from "node:net";
import { type CipherNameAndProtocol, TLSSocket } from "node:tls";
import { RefusalLog } from "../runtime/refusal-log.ts";
import { sourceOf } from "../runtime/source.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Joined, TlsFacts } from "./access-log.ts";
import { type MeshProxyCode, MeshProxyError } from "./errors.ts";
import { type Legs, plainLeg, reset } from "./leg.ts";
import type { OpenConnection, Outcome, RuleMetrics } from "./metrics.ts";
import type { Route } from "./proxy.ts";
import { Splice } from "./splice.ts";
import type { Watch } from "./watch.ts";

/** Runs a TLS handshake: when it may, and with an eye on the time it takes. */
export type RunHandshake = <T>(handshake: () => Promise<T>) => Promise<T>;

/** What happens to connections all the time, by no fault of the configuration. */
const EVERYDAY: ReadonlySet<string> = new Set<MeshProxyCode>(["client_gone", "connection_broken"]);

/** The connections of one route: limited, counted and logged. */
export class Connections {
  readonly route: Route;
  readonly watch: Watch;
  readonly #at: string;
  readonly #log: Logger;
  readonly #refusals: RefusalLog;
  readonly #open = new Set<Socket>();

  constructor(route: Route, watch: Watch, log: Logger) {
    this.route = route;
    this.watch = watch;
    this.#at = formatEndpoint(route.at);
    this.#log = log;
    this.#refusals = new RefusalLog(log);
    // So that its counters are there, at zero, before the first connection.
    watch.metrics.rule(route.direction, route.ruleOf(route.at.port));
  }

  /**
   * Never throws: no connection may touch another one.
   *
   * @param ended called when nothing of it is left
   */
  serve(transport: Socket, ended: () => void): void {
    const { direction, ruleOf } = this.route;
    const { admission, metrics } = this.watch;
    // Now, because a connection that is gone can't say any more where it came from.
    const { remoteAddress, remotePort = 0, localPort = 0 } = transport;
    const peer = formatEndpoint({ host: remoteAddress ?? "?", port: remotePort });
    // Egress has one: the application.
    const source = direction === "ingress" && remoteAddress !== undefined ? sourceOf(remoteAddress) : "";
    const rule = ruleOf(localPort);
    const counts = metrics.rule(direction, rule);
    let leave: () => void;
    try {
      leave = admission.enter(direction, this.#at, source);
    } catch (error) {
      reset(plainLeg(transport));
      counts.end("refused", this.say(error, peer));
      ended();
      return;
    }
    this.#open.add(transport);
    const connection = new Connection(this, { transport, peer, rule, counts }, () => {
      this.#open.delete(transport);
      leave();
      ended();
    });
    void connection.begin(source);
  }

  resetAll(): void {
    for (const transport of this.#open) reset(plainLeg(transport));
  }

  /** Tells the log. @returns the code */
  say(error: unknown, peer: string): string {
    if (!(error instanceof MeshProxyError)) {
      const got = describeError(error);
      this.#log.error({ code: "internal", peer, got }, "a connection ended by a fault of the proxy");
      return "internal";
    }
    const { code, message, where, got, want, hint } = error;
    if (EVERYDAY.has(code)) this.#log.debug({ code, peer, where, got, want, hint }, message);
    else this.#refusals.write(code, peer, message, { where, got, want, hint });
    return code;
  }
}

interface Accepted {
  readonly transport: Socket;
  /** For the log. */
  readonly peer: string;
  readonly rule: string;
  readonly counts: RuleMetrics;
}

/** One connection, from its beginning to its end. What it keeps while it is open, it keeps as often as there are others. */
class Connection implements OpenConnection {
  readonly carried = { up: 0, down: 0 };
  readonly #of: Connections;
  readonly #accepted: Accepted;
  readonly #ended: () => void;
  readonly #began: number;
  /** For the access log. */
  readonly #listener: string | undefined;
  #joined: Joined | undefined;
  #splice: Splice | undefined;

  constructor(connections: Connections, accepted: Accepted, ended: () => void) {
    this.#of = connections;
    this.#accepted = accepted;
    this.#ended = ended;
    this.#began = connections.watch.clock();
    const { localAddress = "?", localPort = 0 } = accepted.transport;
    if (connections.watch.accessLog !== undefined) {
      this.#listener = formatEndpoint({ host: localAddress, port: localPort });
    }
    accepted.counts.opened(this);
  }

  get waiting(): number {
    return this.#splice?.waiting ?? 0;
  }

  /** @param source who it is counted for */
  async begin(source: string): Promise<void> {
    const { transport, peer } = this.#accepted;
    const { route, watch } = this.#of;
    try {
      const legs = await route.connect(transport, this.#handshakes(source));
      if (watch.accessLog !== undefined) this.#joined = describe(legs);
      const both = [transport, legs.far.transport];
      this.#splice = new Splice(legs, {
        carried: this.carried,
        ended: (error) => {
          if (error === undefined) this.#close("completed", null, both);
          else this.#close("broken", this.#of.say(error, peer), both);
        },
      });
    } catch (error) {
      reset(plainLeg(transport));
      this.#close("refused", this.#of.say(error, peer), [transport]);
    }
  }

  /** Those of clients take turns; those with upstreams are the proxy's own. */
  #handshakes(source: string): RunHandshake {
    const { transport, counts } = this.#accepted;
    const { route, watch } = this.#of;
    const timed = async <T>(handshake: () => Promise<T>): Promise<T> => {
      const start = watch.clock();
      const result = await handshake();
      counts.handshakes.observe((watch.clock() - start) / 1000);
      return result;
    };
    if (route.direction === "egress") return timed;
    return async (handshake) => watch.admission.handshake(transport, source, async () => timed(handshake));
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
    const { route, watch } = this.#of;
    counts.closed(this);
    counts.end(outcome, reason ?? "");
    watch.accessLog?.write({
      direction: route.direction,
      rule,
      listener: this.#listener ?? "?",
      peer,
      ...this.#joined,
      ...this.carried,
      durationMs: Math.round(watch.clock() - this.#began),
      outcome,
      reason,
    });
    this.#ended();
  }
}

/** Now, because TLS that has ended can't say any more what it was. */
function describe({ near, far, upstreamCertificate }: Legs): Joined {
  const { remoteAddress: host = "?", remotePort: port = 0 } = far.transport;
  const upstream = formatEndpoint({ host, port });
  const stream = [near.stream, far.stream].find((stream) => stream instanceof TLSSocket);
  if (stream === undefined) return { upstream, names: [], tls: null };
  const certificate = upstreamCertificate ?? stream.getPeerX509Certificate();
  // Node escapes commas inside a name: none can pose as two.
  return { upstream, names: certificate?.subjectAltName?.split(", ") ?? [], tls: tlsFacts(stream) };
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
