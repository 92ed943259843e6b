import type { Socket } from "node:net";
import type { SocketOption } from "./socket-option.ts";

/**
 * What the kernel knows about a TCP connection. libuv does not look at a connection that nobody reads or writes: when it
 * is reset, only the kernel knows.
 */
export interface TcpFacts {
  /** There is no connection any more: the peer reset it, or the kernel gave the peer up. */
  readonly isClosed: boolean;
  /** The peer's kernel has all that was written, and the end of the direction if it was ended. */
  readonly isAcknowledged: boolean;
  /** Bytes that the peer's kernel has acknowledged, and that came from it; they only grow. */
  readonly acknowledged: bigint;
  readonly received: bigint;
}

/** @returns undefined of a socket that was closed here */
export type LookAt = (socket: Socket) => TcpFacts | undefined;

/** <netinet/tcp.h> */
const TCP_INFO = 11;
const IPPROTO_TCP = 6;
/** TCP_CLOSE of <net/tcp_states.h>. */
const CLOSED = 7;

/** Offsets in `struct tcp_info` of <linux/tcp.h>, which only grows at its end. */
const AT = { state: 0, unacknowledged: 24, bytesAcknowledged: 120, bytesReceived: 128, notSent: 144 } as const;
const LENGTH = 148;

export function tcpInfo(read: SocketOption): LookAt {
  const bytes = Buffer.alloc(LENGTH);
  return (socket) => {
    if (!read(socket, IPPROTO_TCP, TCP_INFO, bytes)) return undefined;
    return {
      isClosed: bytes[AT.state] === CLOSED,
      isAcknowledged: bytes.readUInt32LE(AT.unacknowledged) === 0 && bytes.readUInt32LE(AT.notSent) === 0,
      acknowledged: bytes.readBigUInt64LE(AT.bytesAcknowledged),
      received: bytes.readBigUInt64LE(AT.bytesReceived),
    };
  };
}
