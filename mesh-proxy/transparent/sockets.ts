import { Malformed } from "../../runtime/environment.ts";
import type { Family } from "../../netfilter/families.ts";
import { LISTEN_ADDRESS, PORTS } from "./rules.ts";
import type { Libc } from "./libc.ts";

/**
 * Listening sockets that accept connections to any address and port (ip(7), IP_TRANSPARENT). They are made with a
 * privilege that the serving process does not have; it gets them by their numbers.
 */
export interface TransparentSocket {
  readonly family: Family;
  readonly port: (typeof PORTS)[keyof typeof PORTS];
  readonly fd: number;
}

/** Linux, <asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>; the same on x86-64 and arm64. */
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const KIND = {
  IPv4: { domain: 2, level: 0, transparent: 19 },
  IPv6: { domain: 10, level: 41, transparent: 75 },
} as const;
const BACKLOG = 511;

/** @throws MeshProxyError `set_up` */
export function openTransparentSockets(libc: Libc, families: readonly Family[]): TransparentSocket[] {
  return families.flatMap((family) =>
    Object.values(PORTS).map((port) => ({ family, port, fd: open(libc, family, port) })),
  );
}

function open({ call }: Libc, family: Family, port: number): number {
  const { domain, level, transparent } = KIND[family];
  const on = Buffer.from(Int32Array.of(1).buffer);
  // Not close-on-exec: the serving process is to have it.
  const fd = call("socket", domain, SOCK_STREAM | SOCK_NONBLOCK, 0);
  call("setsockopt", fd, SOL_SOCKET, SO_REUSEADDR, on, on.length);
  call("setsockopt", fd, level, transparent, on, on.length);
  const address = family === "IPv4" ? sockaddrIn(port) : sockaddrIn6(port);
  call("bind", fd, address, address.length);
  // From here on connections wait until the serving process accepts them.
  call("listen", fd, BACKLOG);
  return fd;
}

/** ip(7): the family in the machine's order, the port in the network's, the address. */
function sockaddrIn(port: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(KIND.IPv4.domain, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(LISTEN_ADDRESS.IPv4.split(".").map(Number), 4);
  return bytes;
}

/** ipv6(7): also flow label and scope, which are 0. The address is ::1. */
function sockaddrIn6(port: number): Buffer {
  const bytes = Buffer.alloc(28);
  bytes.writeUInt16LE(KIND.IPv6.domain, 0);
  bytes.writeUInt16BE(port, 2);
  bytes[23] = 1;
  return bytes;
}

/** `<family>:<port>:<fd>`, joined by commas. */
export function printSockets(sockets: readonly TransparentSocket[]): string {
  return sockets.map(({ family, port, fd }) => `${family}:${port}:${fd}`).join(",");
}

/** @throws Malformed */
export function parseSockets(text: string): TransparentSocket[] {
  return text.split(",").map((part) => {
    const match = /^(IPv[46]):(1500[67]):([1-9]\d{0,5})$/.exec(part);
    if (match === null) throw Malformed.text(text, "what the proxy itself puts there: leave it unset");
    return { family: match[1] as Family, port: Number(match[2]) as TransparentSocket["port"], fd: Number(match[3]) };
  });
}
