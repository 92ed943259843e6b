import { setTimeout as sleep } from "node:timers/promises";
import type { Socket } from "node:net";
import type { Logger } from "../runtime/log.ts";
import { TlsAcceptor } from "./acceptor.ts";
import { isTransparent, type MeshProxyConfiguration } from "./configuration.ts";
import type { CurrentCredentials } from "./current-credentials.ts";
import type { Descriptors } from "./descriptors.ts";
import { Egress, egressContext } from "./egress.ts";
import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import type { IngressRule } from "../mesh-rules/ingress-rules.ts";
import { Connections, type RunHandshake } from "./connection.ts";
import { describeError } from "../runtime/errors.ts";
import { MeshProxyError, reason } from "./errors.ts";
import { Ingress } from "./ingress.ts";
import type { Legs } from "./leg.ts";
import { type ListenAddress, Listener } from "./listener.ts";
import { type Lookup, Names } from "./names.ts";
import { originalDestination } from "./transparent/destination.ts";
import { LISTEN_ADDRESS, PORTS } from "./transparent/rules.ts";
import type { TransparentSocket } from "./transparent/sockets.ts";
import type { Watch } from "./watch.ts";

/** One place that connections come in at, and what is done with them. */
export interface Route {
  readonly direction: "ingress" | "egress";
  /** For the log: direction, rule and TLS. */
  readonly name: string;
  readonly at: ListenAddress;
  /** For the log. */
  readonly to: string;
  readonly allowHalfOpen: boolean;
  /** The name of the rule that is about a connection to this port. */
  readonly ruleOf: (port: number) => string;
  /** Takes a connection to where it has to go. Throws MeshProxyError where it is refused. */
  readonly connect: (transport: Socket, runHandshake: RunHandshake) => Promise<Legs>;
}

/** What routes need of the world outside the configuration. */
export interface Surroundings {
  readonly credentials: CurrentCredentials;
  readonly lookup: Lookup;
  readonly now: () => Date;
}

/** In place of a rule's name, for the ports that have none: they need a client certificate. */
const NO_RULE = "(none)";

interface Common extends Surroundings {
  readonly names: Names;
}

export function routes(configuration: MeshProxyConfiguration, surroundings: Surroundings): Route[] {
  const common = { ...surroundings, names: new Names(surroundings.lookup, surroundings.now) };
  return [...ingressRoutes(configuration, common), ...egressRoutes(configuration, common)];
}

function ingressRoutes(configuration: MeshProxyConfiguration, { credentials, names, now }: Common): Route[] {
  const {
    CONTRAST_INGRESS_PROXY_CONFIG: rules,
    CONTRAST_INGRESS_BIND: bind,
    CONTRAST_INGRESS_TARGET: target,
    CONTRAST_INGRESS_PORTS: ports,
    CONTRAST_INGRESS_SOCKETS: sockets,
    CONTRAST_INGRESS_ALLOW: allow,
    CONTRAST_INGRESS_PROXY_PROTOCOL: proxyProtocol,
    CONTRAST_TLS_MIN: oldestTls,
    CONTRAST_HANDSHAKE_TIMEOUT: handshakeMs,
  } = configuration;
  if (rules === undefined) return [];
  const tls = { oldestTls, handshakeMs, now };
  const mutual = new TlsAcceptor(credentials, { clientCertificate: "required", ...tls });
  const serverOnly = new TlsAcceptor(credentials, { clientCertificate: "not asked for", ...tls });
  const ingress = new Ingress({ allow, proxyProtocol, names });
  const ruleNames = new Map(rules.map(({ name, port }) => [port, name]));
  const ruleOf: Route["ruleOf"] = (port) => ruleNames.get(port) ?? NO_RULE;
  if (isTransparent(configuration)) {
    return transparentRoutes(sockets ?? [], rules, ingress, { mutual, serverOnly }, ruleOf);
  }
  if (bind === undefined || target === undefined) return [];
  const route = (port: number, name: string, acceptor: TlsAcceptor | undefined): Route => {
    const to = { host: target, port };
    return {
      direction: "ingress",
      name: `ingress ${name}`,
      at: { host: bind, port },
      to: formatEndpoint(to),
      allowHalfOpen: acceptor === undefined,
      ruleOf,
      connect: async (transport, runHandshake) => ingress.connect(transport, acceptor, to, runHandshake),
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

/** Ports that are passed through don't come here. */
function transparentRoutes(
  sockets: readonly TransparentSocket[],
  rules: readonly IngressRule[],
  ingress: Ingress,
  { mutual, serverOnly }: Readonly<Record<keyof typeof PORTS, TlsAcceptor>>,
  ruleOf: Route["ruleOf"],
): Route[] {
  const open = new Set(rules.filter(({ disableTls }) => !disableTls).map(({ port }) => port));
  const own: readonly number[] = Object.values(PORTS);
  return sockets.map(({ family, port, fd }) => {
    const isMutual = port === PORTS.mutual;
    const isMeant = (original: number): boolean => !own.includes(original) && (isMutual || open.has(original));
    return {
      direction: "ingress",
      name: isMutual ? "ingress (mutual TLS)" : "ingress (TLS, no client certificate)",
      at: { host: LISTEN_ADDRESS[family], port, fd },
      to: isMutual ? "any other port" : `port ${[...open].join(", ") || "none"}`,
      allowHalfOpen: false,
      // The kernel leaves a connection the port that it was made to.
      ruleOf,
      connect: async (transport, runHandshake) => {
        const to = originalDestination(transport, isMeant);
        return ingress.connect(transport, isMutual ? mutual : serverOnly, to, runHandshake);
      },
    };
  });
}

function egressRoutes(configuration: MeshProxyConfiguration, { credentials, names, now }: Common): Route[] {
  const context = egressContext(credentials, configuration.CONTRAST_TLS_MIN);
  return configuration.CONTRAST_EGRESS_PROXY_CONFIG.map((rule) => {
    const egress = new Egress(rule, { context, names, now });
    return {
      direction: "egress",
      name: `egress ${rule.name} (mutual TLS${rule.san === undefined ? "" : `, ${rule.san}`})`,
      at: rule.listen,
      to: formatEndpoint(rule.upstream),
      allowHalfOpen: true,
      ruleOf: () => rule.name,
      connect: async (transport, runHandshake) => egress.connect(transport, runHandshake),
    };
  });
}

/** The listeners of all routes. */
export class Proxy {
  readonly #routes: {
    readonly direction: Route["direction"];
    readonly listener: Listener;
    readonly connections: Connections;
  }[] = [];
  readonly #log: Logger;
  readonly #descriptors: Descriptors;
  readonly #watch: Watch;
  /** Connections that were accepted and have not ended yet, on both sides. */
  #open = 0;
  #becameIdle = (): void => {};
  #hasToldOfPause = false;

  constructor(log: Logger, descriptors: Descriptors, watch: Watch) {
    this.#log = log;
    this.#descriptors = descriptors;
    this.#watch = watch;
  }

  /** @throws MeshProxyError `listen` */
  async open(routes: readonly Route[]): Promise<void> {
    for (const route of routes) {
      const log = this.#log.child({ route: route.name, listener: formatEndpoint(route.at) });
      const connections = new Connections(route, this.#watch, log);
      const listener = await Listener.open({
        at: route.at,
        allowHalfOpen: route.allowHalfOpen,
        accept: (transport) => this.#serve(connections, transport),
        failed: (error) => log.warn({ code: "accept", got: reason(error) }, "can't accept a connection"),
        descriptors: this.#descriptors,
        paused: () => this.#tellOfPause(log),
      });
      this.#routes.push({ direction: route.direction, listener, connections });
    }
  }

  /**
   * @returns other descriptors of the listening sockets, in the order of the routes, for another thread
   * @throws MeshProxyError `thread`
   */
  async shareSockets(): Promise<number[]> {
    try {
      return await Promise.all(this.#routes.map(async ({ listener }) => listener.share()));
    } catch (cause) {
      throw new MeshProxyError("thread", "the listening sockets can't be shared with a thread", {
        got: describeError(cause),
        hint: "install koffi, or set CONTRAST_WORKERS=1",
        cause,
      });
    }
  }

  /**
   * Accepts no more connections from outside. Those of the application are still served: it may need them to finish what
   * it has begun.
   */
  stopIngress(): void {
    for (const { direction, listener } of this.#routes) if (direction === "ingress") listener.stop();
  }

  /**
   * Stops the ingress, and ends when no connection is left; what is left when the time is over, or when `atOnce` fires, is
   * reset.
   *
   * @returns whether all connections ended by themselves
   */
  async close(graceMs: number, atOnce?: AbortSignal): Promise<boolean> {
    this.stopIngress();
    const idle = this.#idle();
    const isDrained = await Promise.race([
      idle,
      sleep(graceMs, false, { ref: false, signal: atOnce }).catch(() => false),
    ]);
    for (const { direction, listener, connections } of this.#routes) {
      if (direction === "egress") listener.stop();
      connections.resetAll();
    }
    // The other legs are reset when the first ones have closed.
    if (!isDrained) await Promise.race([idle, sleep(RESET_MS, undefined, { ref: false })]);
    return isDrained;
  }

  /** Once a minute at most: listeners may go on and stop again many times a second. */
  #tellOfPause(log: Logger): void {
    if (this.#hasToldOfPause) return;
    this.#hasToldOfPause = true;
    setTimeout(() => (this.#hasToldOfPause = false), 60_000).unref();
    log.warn({ code: "descriptors", hint: RAISE }, "connections wait: no file descriptors are left");
  }

  async #idle(): Promise<true> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#becameIdle = resolve;
    if (this.#open > 0) await promise;
    return true;
  }

  #serve(connections: Connections, transport: Socket): void {
    this.#open++;
    connections.serve(transport, this.#ended);
  }

  readonly #ended = (): void => {
    if (--this.#open === 0) this.#becameIdle();
  };
}

const RAISE = "raise the limit of open files (RLIMIT_NOFILE), two for each connection, or the number of replicas";

/** How long a reset may take; it does not wait for the peer. */
const RESET_MS = 200;
