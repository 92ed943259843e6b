import type { Direction } from "./direction.ts";
import type { ListenAddress } from "./listen.ts";
import { isTransparent, type MeshProxyConfiguration } from "./configuration.ts";
import type { EgressRule } from "../mesh-rules/egress-rules.ts";
import { type Endpoint, formatEndpoint } from "../mesh-rules/endpoint.ts";
import type { IngressRule } from "../mesh-rules/ingress-rules.ts";
import { LISTEN_ADDRESS, PORTS } from "./transparent/rules.ts";
import type { TransparentSocket } from "./transparent/sockets.ts";

/** What the configuration says about connections, whichever engine serves them. */

/** What is different from port to port of the application. */
export interface PortPlan {
  /** The name of the rule that is about it. */
  readonly rule: string;
  /** The names of which the client must carry one; undefined: the whole mesh may connect. */
  readonly allowed: readonly string[] | undefined;
  /** Whether the application expects the PROXY protocol. */
  readonly proxyProtocol: boolean;
}

/** Where the client of a redirected connection wanted to go. */
export interface OriginalTarget {
  /** The proxy's own ports, which are nobody's target. */
  readonly own: readonly number[];
  /** The ports that belong here; undefined: all others. */
  readonly only: readonly number[] | undefined;
}

/** One place that connections come in at, and what is done with them. */
export interface RoutePlan {
  readonly direction: Direction;
  /** For the log: direction, rule and TLS. */
  readonly name: string;
  readonly at: ListenAddress;
  /** For the log. */
  readonly to: string;
  /** `mutual` and `server` (without a client certificate) are of the client's side, `upstream` of the other one. */
  readonly tls: "mutual" | "server" | "upstream" | "none";
  readonly target: Endpoint | OriginalTarget;
  /** Of egress: the rule. */
  readonly egress: EgressRule | undefined;
  readonly ports: ReadonlyMap<number, PortPlan>;
  /** Of ports that have no plan of their own. */
  readonly otherwise: PortPlan;
}

/** In place of a rule's name, for the ports that have none: they need a client certificate. */
const NO_RULE = "(none)";

/** @param port of the application */
export function planFor({ ports, otherwise }: RoutePlan, port: number): PortPlan {
  return ports.get(port) ?? otherwise;
}

export function plansOf(configuration: MeshProxyConfiguration): RoutePlan[] {
  return [...ingressPlans(configuration), ...configuration.CONTRAST_EGRESS_PROXY_CONFIG.map(egressPlan)];
}

function ingressPlans(configuration: MeshProxyConfiguration): RoutePlan[] {
  const {
    CONTRAST_INGRESS_PROXY_CONFIG: rules,
    CONTRAST_INGRESS_BIND: bind,
    CONTRAST_INGRESS_TARGET: target,
    CONTRAST_INGRESS_PORTS: mutualPorts,
    CONTRAST_INGRESS_SOCKETS: sockets,
  } = configuration;
  if (rules === undefined) return [];
  const common = { direction: "ingress", egress: undefined, ...portPlans(configuration, rules) } as const;
  if (isTransparent(configuration)) return transparentPlans(sockets ?? [], rules, common);
  if (bind === undefined || target === undefined) return [];
  const plan = (port: number, name: string, tls: RoutePlan["tls"]): RoutePlan => {
    const to = { host: target, port };
    const at = { host: bind, port };
    return { ...common, name: `ingress ${name}`, at, to: formatEndpoint(to), tls, target: to };
  };
  return [
    ...mutualPorts.map((port) => plan(port, "(mutual TLS)", "mutual")),
    ...rules.map(({ name, port, disableTls }) =>
      disableTls
        ? plan(port, `${name} (passed through)`, "none")
        : plan(port, `${name} (TLS, no client certificate)`, "server"),
    ),
  ];
}

type Common = Pick<RoutePlan, "direction" | "egress" | "ports" | "otherwise">;

/** Ports that are passed through don't come here. */
function transparentPlans(
  sockets: readonly TransparentSocket[],
  rules: readonly IngressRule[],
  common: Common,
): RoutePlan[] {
  const open = rules.filter(({ disableTls }) => !disableTls).map(({ port }) => port);
  const own = Object.values(PORTS);
  return sockets.map(({ family, port, fd }) => {
    const isMutual = port === PORTS.mutual;
    return {
      ...common,
      name: isMutual ? "ingress (mutual TLS)" : "ingress (TLS, no client certificate)",
      at: { host: LISTEN_ADDRESS[family], port, fd },
      to: isMutual ? "any other port" : `port ${open.join(", ") || "none"}`,
      tls: isMutual ? "mutual" : "server",
      target: { own, only: isMutual ? undefined : open },
    };
  });
}

function portPlans(
  { CONTRAST_INGRESS_ALLOW: allow, CONTRAST_INGRESS_PROXY_PROTOCOL: proxyProtocol }: MeshProxyConfiguration,
  rules: readonly IngressRule[],
): Pick<RoutePlan, "ports" | "otherwise"> {
  const names = new Map(rules.map(({ name, port }) => [port, name]));
  const allowed = new Map(allow.map(({ port, sans }) => [port, sans]));
  const numbers = new Set([...names.keys(), ...allowed.keys(), ...proxyProtocol]);
  const ports = new Map(
    [...numbers].map((port) => [
      port,
      { rule: names.get(port) ?? NO_RULE, allowed: allowed.get(port), proxyProtocol: proxyProtocol.includes(port) },
    ]),
  );
  return { ports, otherwise: { rule: NO_RULE, allowed: undefined, proxyProtocol: false } };
}

function egressPlan(rule: EgressRule): RoutePlan {
  const { name, listen, upstream, san } = rule;
  return {
    direction: "egress",
    name: `egress ${name} (mutual TLS${san === undefined ? "" : `, ${san}`})`,
    at: listen,
    to: formatEndpoint(upstream),
    tls: "upstream",
    target: upstream,
    egress: rule,
    ports: new Map(),
    otherwise: { rule: name, allowed: undefined, proxyProtocol: false },
  };
}
