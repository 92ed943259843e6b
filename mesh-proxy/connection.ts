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
import { splice } from "./splice.ts";
import type { Watch } from "./watch.ts";

/** Runs a TLS handshake: when it may, and with an eye on the time it takes. */
export type RunHandshake = <T>(handshake: () => Promise<T>) => Promise<T>;

/** What happens to connections all the time, by no fault of the configuration. */
const EVERYDAY: ReadonlySet<string> = new Set<MeshProxyCode>(["client_gone", "connection_broken"]);

/** The connections of one route, each from its beginning to its end: limited, counted and logged. */
export class Connections {
  readonly #route: Route;
  readonly #at: string;
  readonly #watch: Watch;
  readonly #log: Logger;
  readonly #refusals: RefusalLog;
  readonly #open = new Set<Socket>();

  constructor(route: Route, watch: Watch, log: Logger) {
    this.#route = route;
    this.#at = formatEndpoint(route.at);
    this.#watch = watch;
    this.#log = log;
    this.#refusals = new RefusalLog(log);
    // So that its counters are there, at zero, before the first connection.
    watch.metrics.rule(route.direction, route.ruleOf(route.at.port));
  }

  /** Never throws: no connection may touch another one. */
  async serve(transport: Socket): Promise<void> {
    const { direction, ruleOf } = this.#route;
    const { admission, metrics, clock } = this.#watch;
    const began = clock();
    // Now, because a connection that is gone can't say any more where it came from.
    const { remoteAddress, remotePort = 0, localAddress = "?", localPort = 0 } = transport;
    const rule = ruleOf(localPort);
    const counts = metrics.rule(direction, rule);
    const peer = formatEndpoint({ host: remoteAddress ?? "?", port: remotePort });
    const listener = formatEndpoint({ host: localAddress, port: localPort });
    // Egress has one: the application.
    const source = direction === "ingress" && remoteAddress !== undefined ? sourceOf(remoteAddress) : "";
    let leave: () => void;
    try {
      leave = admission.enter(direction, this.#at, source);
    } catch (error) {
      reset(plainLeg(transport));
      counts.end("refused", this.#say(error, peer));
      return;
    }
    this.#open.add(transport);
    const carried = { up: 0, down: 0 };
    const connection: OpenConnection = { carried };
    counts.opened(connection);
    let joined: Joined | undefined;
    let outcome: Outcome = "completed";
    let reason: string | null = null;
    try {
      const legs = await this.#connect(transport, this.#handshakes(transport, source, counts));
      connection.legs = legs;
      if (this.#watch.accessLog !== undefined) joined = describe(legs);
      await splice(legs, carried);
    } catch (error) {
      outcome = connection.legs === undefined ? "refused" : "broken";
      reason = this.#say(error, peer);
    }
    // A peer that does not read may take its time for what is still to be written. That, too, is an open connection.
    await Promise.all([closed(transport), connection.legs && closed(connection.legs.far.transport)]);
    this.#open.delete(transport);
    leave();
    counts.closed(connection);
    counts.end(outcome, reason ?? "");
    this.#watch.accessLog?.write({
      direction,
      rule,
      listener,
      peer,
      ...joined,
      ...carried,
      durationMs: Math.round(clock() - began),
      outcome,
      reason,
    });
  }

  resetAll(): void {
    for (const transport of this.#open) reset(plainLeg(transport));
  }

  /** Those of clients take turns; those with upstreams are the proxy's own. */
  #handshakes(transport: Socket, source: string, counts: RuleMetrics): RunHandshake {
    const { admission, clock } = this.#watch;
    const timed = async <T>(handshake: () => Promise<T>): Promise<T> => {
      const start = clock();
      const result = await handshake();
      counts.handshakes.observe((clock() - start) / 1000);
      return result;
    };
    if (this.#route.direction === "egress") return timed;
    return async (handshake) => admission.handshake(transport, source, async () => timed(handshake));
  }

  async #connect(transport: Socket, run: RunHandshake): Promise<Legs> {
    try {
      return await this.#route.connect(transport, run);
    } catch (error) {
      reset(plainLeg(transport));
      throw error;
    }
  }

  /** Tells the log. @returns the code */
  #say(error: unknown, peer: string): string {
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

async function closed(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (socket.closed) resolve();
  else socket.once("close", resolve);
  return promise;
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
