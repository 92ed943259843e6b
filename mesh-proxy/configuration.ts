import { isIPv6, SocketAddress } from "node:net";
import { type Configuration, type Constraint, Malformed } from "../runtime/environment.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { duration, ipAddress, oneOf, parsePort, path } from "../runtime/variables.ts";
import { type EgressRule, parseEgressRules } from "../mesh-rules/egress-rules.ts";
import { PORT } from "../mesh-rules/entries.ts";
import { type IngressAllow, parseIngressAllow } from "../mesh-rules/ingress-allow.ts";
import type { IngressRule } from "../mesh-rules/ingress-rules.ts";
import { ingressVariables } from "../mesh-rules/ingress-variables.ts";
import { limitVariables } from "./limits/limits.ts";
import type { EngineName } from "./observe/metrics.ts";
import { parseSockets, type TransparentSocket } from "./transparent/sockets.ts";

/** The variables of the mesh proxy (docs/design.md §2), and what has to hold between them. */
export const variables = {
  CONTRAST_TLS_CONFIG_DIR: path("/tls-config", "the folder with certChain.pem, key.pem and mesh-ca.pem"),
  CONTRAST_INGRESS_PROXY_CONFIG: ingressVariables.CONTRAST_INGRESS_PROXY_CONFIG,
  CONTRAST_EGRESS_PROXY_CONFIG: { help: "egress rules", unset: [] as readonly EgressRule[], parse: parseEgressRules },
  CONTRAST_INGRESS_MODE: ingressVariables.CONTRAST_INGRESS_MODE,
  CONTRAST_INGRESS_BIND: ipAddress(undefined, "mode bind: the address to listen on"),
  CONTRAST_INGRESS_TARGET: ipAddress(undefined, "mode bind: the address that the application listens on"),
  CONTRAST_INGRESS_PORTS: {
    help: "mode bind: the ports without a rule, separated by commas; they need a client certificate",
    unset: [] as readonly number[],
    parse: parsePorts,
  },
  CONTRAST_INGRESS_SOCKETS: {
    help: "mode transparent: internal, set by the program itself",
    unset: undefined as readonly TransparentSocket[] | undefined,
    parse: parseSockets,
  },
  CONTRAST_INGRESS_ALLOW: {
    help: "the names that may connect to a port, like 8080=web,vote-bot, joined by ##; unset: the whole mesh",
    unset: [] as readonly IngressAllow[],
    parse: parseIngressAllow,
  },
  CONTRAST_INGRESS_PROXY_PROTOCOL: {
    help: "the ports of applications that expect the PROXY protocol, version 2, separated by commas",
    unset: [] as readonly number[],
    parse: parsePorts,
  },
  CONTRAST_TLS_MIN: oneOf(["1.2", "1.3"], "1.3", "the lowest TLS version to accept"),
  CONTRAST_DRAIN_TIMEOUT: duration(25_000, "how long connections may continue after the signal to stop (default: 25s)"),
  CONTRAST_ADMIN_PORT: ingressVariables.CONTRAST_ADMIN_PORT,
  CONTRAST_ENGINE: {
    help: "what carries connections: native or streams (default: native where it was built for this machine)",
    unset: undefined as EngineName | undefined,
    parse: oneOf(["native", "streams"], "native", "").parse,
  },
  CONTRAST_ACCESS_LOG: oneOf(["0", "1"], "0", "1: one line of JSON on standard output for each connection"),
  ...limitVariables,
};

export type MeshProxyConfiguration = Configuration<typeof variables>;

function parsePorts(text: string): number[] {
  const faults: Fault[] = [];
  const ports = text.split(",").map((part, index, parts) => {
    const port = parsePort(part);
    const where = `port ${index + 1}`;
    if (port === undefined) faults.push({ where, got: quote(part), want: PORT });
    else if (parts.indexOf(part) < index) faults.push({ where, got: `${port} again`, want: "each port once" });
    return port;
  });
  if (faults.length > 0) throw new Malformed(faults);
  return ports.filter((port) => port !== undefined);
}

/** Whether connections from outside the pod are to be led here. */
export function isTransparent(configuration: MeshProxyConfiguration): boolean {
  const { CONTRAST_INGRESS_PROXY_CONFIG: rules, CONTRAST_INGRESS_MODE: mode } = configuration;
  return rules !== undefined && mode === "transparent";
}

type Faults = (configuration: MeshProxyConfiguration) => readonly Fault[];

/** The constraints of mode `bind`, which are about nothing where the ingress is not touched. */
function whereBound(
  about: readonly (keyof typeof variables)[],
  faults: (configuration: MeshProxyConfiguration, rules: readonly IngressRule[]) => readonly Fault[],
): Constraint<typeof variables> {
  const faultsIfBound: Faults = (configuration) => {
    const rules = configuration.CONTRAST_INGRESS_PROXY_CONFIG;
    return rules === undefined || configuration.CONTRAST_INGRESS_MODE !== "bind" ? [] : faults(configuration, rules);
  };
  return { about: ["CONTRAST_INGRESS_PROXY_CONFIG", "CONTRAST_INGRESS_MODE", ...about], faults: faultsIfBound };
}

const INGRESS = ["CONTRAST_INGRESS_PROXY_CONFIG", "CONTRAST_INGRESS_MODE", "CONTRAST_INGRESS_PORTS"] as const;

export const constraints: readonly Constraint<typeof variables>[] = [
  { about: [...INGRESS, "CONTRAST_INGRESS_ALLOW"], faults: allowFaults },
  { about: [...INGRESS, "CONTRAST_INGRESS_PROXY_PROTOCOL"], faults: proxyProtocolFaults },
  whereBound(["CONTRAST_INGRESS_BIND", "CONTRAST_INGRESS_TARGET"], (configuration) =>
    addressFaults(configuration.CONTRAST_INGRESS_BIND, configuration.CONTRAST_INGRESS_TARGET),
  ),
  whereBound(["CONTRAST_INGRESS_PORTS"], ({ CONTRAST_INGRESS_PORTS: ports }, rules) => {
    const where = "CONTRAST_INGRESS_PORTS";
    if (ports.length + rules.length === 0) {
      return [{ where, got: "no port, nor a rule with one", want: "the ports to listen on, separated by commas" }];
    }
    return rules
      .filter(({ port }) => ports.includes(port))
      .map(({ name, port }) => ({
        where,
        got: `${port}, which rule ${quote(name)} is about`,
        want: "it in one place",
      }));
  }),
];

/** A name that is checked nowhere, or told to nobody, must not look as if it were. */
function allowFaults(configuration: MeshProxyConfiguration): Fault[] {
  const { CONTRAST_INGRESS_PROXY_CONFIG: rules = [], CONTRAST_INGRESS_ALLOW: allow } = configuration;
  const where = "CONTRAST_INGRESS_ALLOW";
  return allow.flatMap(({ port }) => {
    const rule = rules.find((candidate) => candidate.port === port);
    if (rule !== undefined) {
      const got = `${port}, where rule ${quote(rule.name)} asks for no client certificate`;
      return [{ where, got, want: "a port without a rule, which asks for one" }];
    }
    return isServed(configuration, port) ? [] : [{ where, got: `${port}, ${UNSERVED}`, want: SERVED }];
  });
}

function proxyProtocolFaults(configuration: MeshProxyConfiguration): Fault[] {
  const { CONTRAST_INGRESS_PROXY_CONFIG: rules = [], CONTRAST_INGRESS_PROXY_PROTOCOL: ports } = configuration;
  const where = "CONTRAST_INGRESS_PROXY_PROTOCOL";
  return ports.flatMap((port) => {
    const rule = rules.find((candidate) => candidate.port === port);
    if (rule?.disableTls === true && isTransparent(configuration)) {
      const got = `${port}, whose connections the proxy never sees: rule ${quote(rule.name)}`;
      return [{ where, got, want: "a port with TLS, or mode bind" }];
    }
    return isServed(configuration, port) ? [] : [{ where, got: `${port}, ${UNSERVED}`, want: SERVED }];
  });
}

const UNSERVED = "which the proxy does not serve";
const SERVED = "a port of the ingress (CONTRAST_INGRESS_PROXY_CONFIG; in mode bind also CONTRAST_INGRESS_PORTS)";

function isServed(configuration: MeshProxyConfiguration, port: number): boolean {
  const { CONTRAST_INGRESS_PROXY_CONFIG: rules, CONTRAST_INGRESS_PORTS: ports } = configuration;
  if (rules === undefined) return false;
  return isTransparent(configuration) || ports.includes(port) || rules.some((rule) => rule.port === port);
}

function addressFaults(bind: string | undefined, target: string | undefined): Fault[] {
  const faults: Fault[] = [];
  if (bind === undefined) {
    faults.push({ where: "CONTRAST_INGRESS_BIND", got: "nothing", want: "the address to listen on, in mode bind" });
  }
  if (target === undefined) {
    faults.push({ where: "CONTRAST_INGRESS_TARGET", got: "nothing", want: "the application's address, in mode bind" });
  }
  if (bind === undefined || target === undefined) return faults;
  // A proxy that forwards to its own listener calls itself until the memory is gone.
  const listen = canonical(bind);
  const forward = canonical(target);
  const includesLoopback = isUnspecified(listen) && (forward === "::1" || forward.startsWith("127."));
  if (listen === forward || includesLoopback || isUnspecified(forward)) {
    const got = `${target}, which leads back to CONTRAST_INGRESS_BIND=${bind}`;
    faults.push({ where: "CONTRAST_INGRESS_TARGET", got, want: "an address that only the application listens on" });
  }
  return faults;
}

/** One text for each address, and an IPv4 address for the IPv6 address that stands for it (RFC 4291 §2.5.5.2). */
function canonical(address: string): string {
  const { address: text } = new SocketAddress({ address, family: isIPv6(address) ? "ipv6" : "ipv4" });
  return text.startsWith("::ffff:") && text.includes(".") ? text.slice("::ffff:".length) : text;
}

function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}
