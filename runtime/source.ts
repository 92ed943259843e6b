import { socketOctets } from "../bytes/ip-address.ts";

/**
 * Who a connection is counted for: an IPv4 address, or the /64 of an IPv6 address, for one host may use all of that. It
 * is no identity: many may come from one address.
 */
export function sourceOf(address: string): string {
  // Of an IPv4 address this is all.
  return socketOctets(address).subarray(0, 8).toString("hex");
}
