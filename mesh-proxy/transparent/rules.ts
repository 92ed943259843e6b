import type { Family } from "../../netfilter/families.ts";
import { PROXY_MARK } from "../../netfilter/static-rules.ts";
import type { IngressRule } from "../../mesh-rules/ingress-rules.ts";

/**
 * The rules that lead every TCP connection from outside the pod to the proxy (iptables-extensions(8), TPROXY). They are
 * asked about every packet, not only the first of a connection; TPROXY itself knows the connections that the proxy has.
 *
 * TPROXY drops a packet where nobody listens transparently: without a proxy the ports are closed, not open. What it leads
 * to the proxy it marks, and the static rules of the pod let in what is marked (netfilter/static-rules.ts). The kernel
 * delivers to the proxy only what is addressed to this pod, because no route makes it take anything else.
 */

export const TABLE = "mangle";
const CHAIN = "CONTRAST_INGRESS";
export const JUMP = `PREROUTING -p tcp -j ${CHAIN}`;

/** The ports of the proxy (docs/design.md §2): with a client certificate, and without. */
export const PORTS = { mutual: 15_006, serverOnly: 15_007 } as const;

/** Where the proxy listens: nobody outside reaches a loopback address but by these rules. */
export const LISTEN_ADDRESS: Readonly<Record<Family, string>> = { IPv4: "127.0.0.1", IPv6: "::1" };

/** What the rules depend on. */
export interface IngressPlan {
  readonly rules: readonly IngressRule[];
  /** A port of the proxy's own that is open to everybody, unless a rule is about it. */
  readonly adminPort: number | undefined;
}

/** The lines of the chain, which replace those it had, and the jump to it where that is missing. */
export function chainLines(family: Family, { rules, adminPort }: IngressPlan, hasJump: boolean): string[] {
  const toProxy = (port: number): string =>
    `TPROXY --on-ip ${LISTEN_ADDRESS[family]} --on-port ${port} --tproxy-mark ${PROXY_MARK}`;
  return chain(hasJump, [
    // Answers to connections that the pod began, but nothing that begins one: whom the pod has called in vain could call
    // back past the proxy. `-m socket` in place of this would also match the application's own listening sockets, and
    // everybody would get past the proxy.
    "-p tcp ! --syn -m conntrack --ctdir REPLY -j RETURN",
    ...rules.map(
      ({ port, disableTls }) => `-p tcp --dport ${port} -j ${disableTls ? "RETURN" : toProxy(PORTS.serverOnly)}`,
    ),
    ...(adminPort === undefined ? [] : [`-p tcp --dport ${adminPort} -j RETURN`]),
    `-p tcp -j ${toProxy(PORTS.mutual)}`,
  ]);
}

/** Lines that let nobody in, for a kernel that can't do the others. */
export function closedLines(hasJump: boolean): string[] {
  return chain(hasJump, ["-p tcp --syn -j DROP"]);
}

export const removalLines: readonly string[] = [`-D ${JUMP}`, `-F ${CHAIN}`, `-X ${CHAIN}`];

function chain(hasJump: boolean, lines: readonly string[]): string[] {
  return [
    // Makes the chain, or empties it: in the same commit as what follows.
    `:${CHAIN} - [0:0]`,
    // What the pod says to itself is not from outside; the proxy's way to the application is among it.
    ...["-i lo -j RETURN", ...lines].map((line) => `-A ${CHAIN} ${line}`),
    // First of all, so that no other rule lets anything pass before.
    ...(hasJump ? [] : [`-I ${JUMP}`]),
  ];
}
