import { isEqual } from "./encode.ts";
import { hexBytes } from "./hex.ts";

/** IPv4-mapped IPv6 (RFC 4291 §2.5.5.2): how IPv4 peers of a socket for both look like. */
const MAPPED = hexBytes("00000000000000000000ffff");

/** The octets of a socket's peer or of its own end: 4 also where IPv6 stands for IPv4; a zone names an interface here. */
export function socketOctets(address: string): Uint8Array {
  const octets = ipOctets(address.replace(/%.*$/, ""));
  return octets.length === 16 && isEqual(octets.subarray(0, 12), MAPPED) ? octets.subarray(12) : octets;
}

/**
 * The octets of an IP address (RFC 791, RFC 4291 §2.2): 4 or 16.
 *
 * @throws TypeError where the text is no address, or has a zone, for which there are no octets
 */
export function ipOctets(text: string): Uint8Array {
  if (IPV4.test(text)) return Uint8Array.from(text.split("."), Number);
  const hostname = ipv6Hostname(text);
  if (hostname === undefined) throw new TypeError(`no IP address: ${text}`);
  const [head = "", tail] = hostname.split("::");
  const [left, right] = [head, tail ?? ""].map((half) => half.split(":").filter((group) => group !== ""));
  const zeros = Array.from({ length: 8 - (left?.length ?? 0) - (right?.length ?? 0) }, () => "0");
  const groups = [...(left ?? []), ...zeros, ...(right ?? [])];
  return hexBytes(groups.map((group) => group.padStart(4, "0")).join(""));
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** URL writes all forms of an IPv6 address as groups of hexadecimal, with `::` for at most one run of zeros. */
function ipv6Hostname(text: string): string | undefined {
  // Nothing else may end the host part.
  if (!/^[0-9A-Fa-f:.]+$/.test(text)) return undefined;
  try {
    return new URL(`http://[${text}]`).hostname.slice(1, -1);
  } catch {
    return undefined;
  }
}
