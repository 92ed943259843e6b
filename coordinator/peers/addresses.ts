import { isIPv6 } from "node:net";
import type { PeerHost } from "./variables.ts";

/** What DNS says of a name, and the addresses of this machine. */
export interface Resolver {
  readonly lookup: (host: string) => Promise<readonly { readonly address: string }[]>;
  readonly own: () => readonly string[];
}

/**
 * Every address of every host, but for this machine's own.
 *
 * @returns `address:port`, IPv6 in brackets
 * @throws where no host is known
 */
export async function peerAddresses(hosts: readonly PeerHost[], { lookup, own }: Resolver): Promise<string[]> {
  const found = await Promise.allSettled(hosts.map(({ host }) => lookup(host)));
  const failure = found.find(({ status }) => status === "rejected");
  if (failure?.status === "rejected" && found.every(({ status }) => status === "rejected"))
    throw failure.reason as Error;
  const mine = new Set(own());
  const targets = found.flatMap((result, index) => {
    if (result.status === "rejected") return [];
    const others = result.value.filter(({ address }) => !mine.has(address));
    return others.map(({ address }) => `${isIPv6(address) ? `[${address}]` : address}:${hosts[index]?.port}`);
  });
  return [...new Set(targets)];
}
