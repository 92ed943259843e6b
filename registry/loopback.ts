import { isIPv4 } from "node:net";

/**
 * Whether a URL leads to this machine: `localhost`, 127.0.0.0/8, [::1], as Docker has it. Nobody else is talked to
 * without TLS. The URL's host is looked at, which is where the connection goes: `127.0.0.1.example.com` is a name.
 */
export function isLoopback({ hostname }: URL): boolean {
  return hostname === "localhost" || hostname === "[::1]" || (isIPv4(hostname) && hostname.startsWith("127."));
}

/** https, or this machine by a service on this machine: what a registry at `base` may send us to. */
export function mayLeadTo(url: URL, base: URL): boolean {
  if (url.username !== "" || url.password !== "") return false;
  return url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url) && isLoopback(base));
}
