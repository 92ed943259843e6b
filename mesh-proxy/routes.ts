import { formatEndpoint } from "../mesh-rules/endpoint.ts";
import type { IngressRule } from "../mesh-rules/ingress-rules.ts";
import { TlsAcceptor } from "./tls/acceptor.ts";
import { isTransparent, type MeshProxyConfiguration } from "./configuration.ts";
import type { CurrentCredentials } from "./tls/current-credentials.ts";
import { Egress, egressContext } from "./egress.ts";
import type { Reading } from "./handshake/intake.ts";
import { Ingress } from "./ingress.ts";
import { type Lookup, Names } from "./upstream/names.ts";
import type { Route } from "./route.ts";
import { originalDestination } from "./transparent/destination.ts";
import { LISTEN_ADDRESS, PORTS } from "./transparent/rules.ts";
import type { TransparentSocket } from "./transparent/sockets.ts";

/** What routes need of the world outside the configuration. */
export interface Surroundings {
  readonly credentials: CurrentCredentials;
  readonly lookup: Lookup;
  readonly now: () => Date;
  readonly reading: Reading;
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

function ingressRoutes(configuration: MeshProxyConfiguration, { credentials, names, now, reading }: Common): Route[] {
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
  const tls = { oldestTls, handshakeMs, now, reading };
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
      connect: async (transport, handshakes) => ingress.connect(transport, acceptor, to, handshakes),
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
      connect: async (transport, handshakes) => {
        const to = originalDestination(transport, isMeant);
        return ingress.connect(transport, isMutual ? mutual : serverOnly, to, handshakes);
      },
    };
  });
}

function egressRoutes(configuration: MeshProxyConfiguration, { credentials, names, now, reading }: Common): Route[] {
  const context = egressContext(credentials, configuration.CONTRAST_TLS_MIN);
  return configuration.CONTRAST_EGRESS_PROXY_CONFIG.map((rule) => {
    const egress = new Egress(rule, { context, names, now, reading });
    return {
      direction: "egress",
      name: `egress ${rule.name} (mutual TLS${rule.san === undefined ? "" : `, ${rule.san}`})`,
      at: rule.listen,
      to: formatEndpoint(rule.upstream),
      allowHalfOpen: true,
      ruleOf: () => rule.name,
      connect: async (transport, handshakes) => egress.connect(transport, handshakes),
    };
  });
}
