import type { Family } from "./families.ts";

/**
 * The rules of a pod with a mesh proxy, which stay as long as its network namespace: nothing gets in but what the proxy
 * takes, whether it runs, has been killed or was never started. They open nothing by themselves, and nobody lifts them.
 *
 * They stand before all others in INPUT and FORWARD (iptables(8)). What they take is taken, so that a guest's own default
 * deny may stay where it is; what they don't is dropped, whatever its protocol and whatever interface it came by.
 */

/**
 * What TPROXY writes on packets for which it has found the proxy's socket (iptables-extensions(8)). It is a note in the
 * kernel, not in the packet: nobody outside can send it.
 */
export const PROXY_MARK = "0x15006";

/** The chains, each with the rules that it has. As the kernel prints them, so that they can be compared. */
export type Chains = Readonly<Record<"CONTRAST_INPUT" | "CONTRAST_FORWARD", readonly string[]>>;

/** From where each chain is gone to, first of all. */
export const HOOKS = { CONTRAST_INPUT: "INPUT", CONTRAST_FORWARD: "FORWARD" } as const;

export const TABLE = "filter";

/**
 * Errors about connections that exist: without them a path that takes smaller packets swallows the larger ones. Those of
 * the pod's own connections and of others' are alike here.
 */
const ERRORS = {
  // RFC 792: destination unreachable, time exceeded, parameter problem. Not redirects.
  IPv4: [3, 11, 12].map((type) => `-p icmp -m icmp --icmp-type ${type} -m conntrack --ctstate RELATED -j ACCEPT`),
  // RFC 4443: destination unreachable, packet too big, time exceeded, parameter problem.
  IPv6: [1, 2, 3, 4].map(
    (type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type} -m conntrack --ctstate RELATED -j ACCEPT`,
  ),
} as const;

/**
 * What takes the place of ARP (RFC 4861, neighbour solicitation and advertisement), and the question of a switch for which
 * of their multicast addresses the pod listens (RFC 3810). Not router advertisements: addresses and routes of a pod come
 * from its runtime.
 */
const NEIGHBOURS = {
  IPv4: [],
  IPv6: [130, 135, 136].map((type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type} -j ACCEPT`),
} as const;

/** @param openPorts of TCP, which are passed by to the application */
export function staticRules(family: Family, openPorts: readonly number[]): Chains {
  return {
    CONTRAST_INPUT: [
      // The host can't put a packet there.
      "-i lo -j ACCEPT",
      `-m mark --mark ${PROXY_MARK} -j ACCEPT`,
      ...openPorts.map((port) => `-p tcp -m tcp --dport ${port} -j ACCEPT`),
      // A packet that begins a connection is no answer, even where the kernel counts it as one: whom the pod has called in
      // vain may call back for two minutes, at the port from which it was called.
      "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
      // Of a connection that the pod began. ESTABLISHED alone is also one that somebody began before these rules.
      "-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT",
      ...ERRORS[family],
      ...NEIGHBOURS[family],
      "-j DROP",
    ],
    // A pod is nobody's way. What is led on to a network inside of it would get past INPUT.
    CONTRAST_FORWARD: ["-j DROP"],
  };
}

type Chain = keyof Chains;

/** Makes the chains those of `rules`, and the jumps to them the first of their hooks: in one commit. */
export function installLines(rules: Chains, hasJump: Readonly<Record<Chain, boolean>>): string[] {
  return chains(rules).flatMap(([chain, lines]) => {
    const jump = `${HOOKS[chain]} -j ${chain}`;
    return [
      `:${chain} - [0:0]`,
      ...lines.map((line) => `-A ${chain} ${line}`),
      // One that is not the first of all is made anew.
      ...(hasJump[chain] ? [`-D ${jump}`] : []),
      `-I ${jump}`,
    ];
  });
}

export function removalLines(hasJump: Readonly<Record<Chain, boolean>>): string[] {
  return Object.entries(HOOKS).flatMap(([chain, hook]) =>
    hasJump[chain as Chain] ? [`-D ${hook} -j ${chain}`, `-F ${chain}`, `-X ${chain}`] : [],
  );
}

/** What the kernel prints (`iptables -S`) of a chain that has these rules and no other. */
export function printed(chain: string, lines: readonly string[]): string[] {
  return [`-N ${chain}`, ...lines.map((line) => `-A ${chain} ${line}`)];
}

export function chains(rules: Chains): [Chain, readonly string[]][] {
  return Object.entries(rules) as [Chain, readonly string[]][];
}
