import { isIPv4, isIPv6 } from "node:net";

/** A host (an IP address without brackets, or a DNS name) and a TCP port. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** `host:port`, with the brackets that an IPv6 address needs. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** An address of 127.0.0.0/8, or `[::1]`: nobody outside the pod reaches it. */
export function parseLoopback(text: string): string | undefined {
  if (text === "[::1]") return "::1";
  return isIPv4(text) && text.startsWith("127.") ? text : undefined;
}

/** A DNS name, an IPv4 address, or an IPv6 address in brackets. */
export function parseHost(text: string): string | undefined {
  const address = /^\[(.*)\]$/.exec(text)?.[1];
  if (address !== undefined) return isIPv6(address) ? address : undefined;
  return isIPv4(text) || isDnsName(text) ? text : undefined;
}

const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** RFC 1123 §2.1, with the underscores that DNS allows and one dot at the end for an absolute name. */
export function isDnsName(text: string): boolean {
  const labels = text.replace(/\.$/, "").split(".");
  // Resolvers read "127.1" and "0x7f.1" as addresses: a name like that would lead elsewhere than it says.
  const isNumeric = /^(?:\d+|0x[0-9a-f]*)$/i.test(labels.at(-1) ?? "");
  return text.length <= 253 && !isNumeric && labels.every((label) => LABEL.test(label));
}
