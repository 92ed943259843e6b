import { setTimeout as sleep } from "node:timers/promises";
import type { Socket } from "node:net";
import { describeError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import { TlsAcceptor } from "./acceptor.ts";
import type { MeshProxyConfiguration } from "./configuration.ts";
import type { Credentials } from "./credentials.ts";
import { createEgressContext, Egress } from "./egress.ts";
import { type Endpoint, formatEndpoint } from "../mesh-rules/endpoint.ts";
import { MeshProxyError, type MeshProxyCode, reason } from "./errors.ts";
import { connectIngress } from "./ingress.ts";
import { type Legs, plainLeg, reset } from "./leg.ts";
import { Listener } from "./listener.ts";
import { splice } from "./splice.ts";

/** One place that connections come in at, and what is done with them. */
export interface Route {
  /** For the log: direction, rule and TLS. */
  readonly name: string;
  readonly at: Endpoint;
  readonly to: Endpoint;
  readonly allowHalfOpen: boolean;
  /** Takes a connection to where it has to go. Throws MeshProxyError where it is refused. */
  readonly connect: (transport: Socket) => Promise<Legs>;
}

type Now = () => Date;

export function routes(configuration: MeshProxyConfiguration, credentials: Credentials, now: Now): Route[] {
  return [...ingressRoutes(configuration, credentials, now), ...egressRoutes(configuration, credentials, now)];
}

function ingressRoutes(configuration: MeshProxyConfiguration, credentials: Credentials, now: Now): Route[] {
  const {
    CONTRAST_INGRESS_PROXY_CONFIG: rules,
    CONTRAST_INGRESS_BIND: bind,
    CONTRAST_INGRESS_TARGET: target,
    CONTRAST_INGRESS_PORTS: ports,
  } = configuration;
  if (rules === undefined || bind === undefined || target === undefined) return [];
  const mutual = new TlsAcceptor(credentials, "required", now);
  const serverOnly = new TlsAcceptor(credentials, "not asked for", now);
  const route = (port: number, name: string, acceptor: TlsAcceptor | undefined): Route => {
    const to = { host: target, port };
    return {
      name: `ingress ${name}`,
      at: { host: bind, port },
      to,
      allowHalfOpen: acceptor === undefined,
      connect: async (transport) => connectIngress(transport, acceptor, to),
    };
  };
  return [
    ...ports.map((port) => route(port, "(mutual TLS)", mutual)),
    ...rules.map(({ name, port, disableTls }) =>
      disableTls
        ? route(port, `${name} (passed through)`, undefined)
        : route(port, `${name} (TLS, no client certificate)`, serverOnly),
    ),
  ];
}

function egressRoutes(configuration: MeshProxyConfiguration, credentials: Credentials, now: Now): Route[] {
  const context = createEgressContext(credentials);
  return configuration.CONTRAST_EGRESS_PROXY_CONFIG.map((rule) => {
    const egress = new Egress(rule, context, now);
    return {
      name: `egress ${rule.name} (mutual TLS${rule.san === undefined ? "" : `, ${rule.san}`})`,
      at: rule.listen,
      to: rule.upstream,
      allowHalfOpen: true,
      connect: async (transport) => egress.connect(transport),
    };
  });
}

/** The listeners of all routes. */
export class Proxy {
  readonly #listeners: Listener[] = [];
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @throws MeshProxyError `listen` */
  async open(routes: readonly Route[]): Promise<void> {
    for (const route of routes) {
      const log = this.#log.child({ route: route.name, listener: formatEndpoint(route.at) });
      this.#listeners.push(
        await Listener.open({
          at: route.at,
          allowHalfOpen: route.allowHalfOpen,
          accept: (transport) => void serve(route, transport, log),
          failed: (error) => log.warn({ code: "accept", got: reason(error) }, "can't accept a connection"),
        }),
      );
    }
  }

  /** Accepts no more, waits for the connections to end by themselves, and resets those that don't in time. */
  async close(graceMs: number): Promise<void> {
    const drained = Promise.all(this.#listeners.map(async (listener) => listener.drained()));
    if (await Promise.race([drained.then(() => true), sleep(graceMs, false, { ref: false })])) return;
    for (const listener of this.#listeners) listener.resetAll();
    // The other legs are reset when the first ones have closed.
    await Promise.race([drained, sleep(RESET_MS, undefined, { ref: false })]);
  }
}

/** How long a reset may take; it does not wait for the peer. */
const RESET_MS = 200;

/** What happens to connections all the time, by no fault of the configuration. */
const EVERYDAY: ReadonlySet<MeshProxyCode> = new Set(["client_gone", "connection_broken"]);

/** A connection from its beginning to its end. It never throws: no connection may touch another one. */
async function serve(route: Route, transport: Socket, log: Logger): Promise<void> {
  // Now, because a connection that is gone can't say any more where it came from.
  const { remoteAddress: host = "?", remotePort: port = 0 } = transport;
  const peer = formatEndpoint({ host, port });
  try {
    await splice(await connected(route, transport));
  } catch (error) {
    if (error instanceof MeshProxyError) {
      const { code, message, where, got, want, hint } = error;
      log[EVERYDAY.has(code) ? "debug" : "warn"]({ code, peer, where, got, want, hint }, message);
    } else {
      log.error({ code: "internal", peer, got: describeError(error) }, "a connection ended by a fault of the proxy");
    }
  }
}

async function connected(route: Route, transport: Socket): Promise<Legs> {
  try {
    return await route.connect(transport);
  } catch (error) {
    reset(plainLeg(transport));
    throw error;
  }
}
