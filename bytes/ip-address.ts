import { isIPv4, isIPv6 } from "node:net";

/** IPv4-mapped IPv6 (RFC 4291 §2.5.5.2): how IPv4 peers of a socket for both look like. */
const MAPPED = Buffer.from("00000000000000000000ffff", "hex");

/** The octets of a socket's peer or of its own end: 4 also where IPv6 stands for IPv4; a zone names an interface here. */
export function socketOctets(address: string): Buffer {
  const octets = ipOctets(address.replace(/%.*$/, ""));
  return octets.length === 16 && octets.subarray(0, 12).equals(MAPPED) ? octets.subarray(12) : octets;
}

/**
 * The octets of an IP address (RFC 791, RFC 4291 §2.2): 4 or 16.
 *
 * @throws TypeError where the text is no address, or has a zone, for which there are no octets
 */
export function ipOctets(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split(".").map(Number));
  if (!isIPv6(text) || text.includes("%")) throw new TypeError(`no IP address: ${text}`);
  // URL writes all of its forms as groups of hexadecimal, with `::` for at most one run of zeros.
  const [head = "", tail] = new URL(`http://[${text}]`).hostname.slice(1, -1).split("::");
  const [left, right] = [head, tail ?? ""].map((half) => half.split(":").filter((group) => group !== ""));
  const zeros = Array.from({ length: 8 - (left?.length ?? 0) - (right?.length ?? 0) }, () => "0");
  const groups = [...(left ?? []), ...zeros, ...(right ?? [])];
  return Buffer.from(groups.map((group) => group.padStart(4, "0")).join(""), "hex");
}
