import { ipOctets } from "../bytes/ip-address.ts";

/**
 * Who a connection is counted for: an IPv4 address, or the /64 of an IPv6 address, for one host may use all of that. It
 * is no identity: many may come from one address.
 */
export function sourceOf(address: string): string {
  // A zone names an interface of this host.
  const octets = ipOctets(address.replace(/%.*$/, ""));
  if (octets.length === 4) return octets.toString("hex");
  return (octets.subarray(0, 12).equals(MAPPED) ? octets.subarray(12) : octets.subarray(0, 8)).toString("hex");
}

/** IPv4-mapped IPv6 (RFC 4291 §2.5.5.2): how IPv4 peers of a socket for both look like. */
const MAPPED = Buffer.from("00000000000000000000ffff", "hex");
