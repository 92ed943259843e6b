import { isIPv4 } from "node:net";
import { socketOctets } from "../bytes/ip-address.ts";
import { bigEndian } from "../bytes/numbers.ts";

/**
 * Who a connection is counted for: an IPv4 address, or the /64 of an IPv6 address, for one host may use all of that. It
 * is no identity: many may come from one address.
 */
export function sourceOf(address: string): string {
  if (isIPv4(address)) return address;
  const octets = socketOctets(address);
  if (octets.length === 4) return octets.join(".");
  const groups = [0, 2, 4, 6].map((offset) => bigEndian(octets, offset, 2).toString(16));
  return `${groups.join(":")}::/64`;
}
