import type { Server, Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import { MeshProxyError } from "../faults.ts";

/**
 * What Node does not tell of a socket, and only the kernel knows. This file alone needs more than Node's public interfaces:
 * the number of a socket's descriptor (the property `_handle`) and system calls (koffi).
 */
export interface Kernel {
  /** @returns undefined of a socket that was closed here */
  readonly lookAt: (socket: Socket) => TcpFacts | undefined;
  /** @returns bytes that the kernel holds for a socket */
  readonly bytesHeld: (socket: Socket) => number;
  /** A second descriptor, which keeps the queue of a listening socket when its server is closed. @throws where there is none */
  readonly duplicate: (server: Server) => number;
}

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

/** <netinet/tcp.h> and TCP_CLOSE of <net/tcp_states.h>. */
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const CLOSED = 7;
/** Offsets in `struct tcp_info` of <linux/tcp.h>, which only grows at its end. */
const AT = {
  state: 0,
  unacknowledged: 24,
  bytesAcknowledged: 120,
  bytesReceived: 128,
  notSent: 144,
  end: 148,
} as const;

/** <asm-generic/socket.h>; the same on x86-64 and arm64. */
const SOL_SOCKET = 1;
const SO_MEMINFO = 55;
/** <linux/sock_diag.h>: the numbers of `SO_MEMINFO`, 4 bytes each. */
const MEMINFO = { receiveQueue: 0, allocatedAhead: 4, sendQueue: 5, count: 9 } as const;

/** <linux/fcntl.h> */
const F_DUPFD_CLOEXEC = 1030;

/** @throws MeshProxyError `node` where the native module can't be loaded */
export async function askKernel(): Promise<Kernel> {
  const { getsockopt, fcntl, errno } = await systemCalls();
  const length = new Uint32Array(1);
  const read = (socket: Socket, level: number, name: number, into: ArrayBufferView): boolean => {
    const fd = numberOf(socket);
    length[0] = into.byteLength;
    return fd !== undefined && getsockopt(fd, level, name, into, length) === 0;
  };
  const facts = Buffer.alloc(AT.end);
  const memory = new Uint32Array(MEMINFO.count);
  return {
    lookAt(socket) {
      if (!read(socket, IPPROTO_TCP, TCP_INFO, facts)) return undefined;
      return {
        isClosed: facts[AT.state] === CLOSED,
        isAcknowledged: facts.readUInt32LE(AT.unacknowledged) === 0 && facts.readUInt32LE(AT.notSent) === 0,
        acknowledged: facts.readBigUInt64LE(AT.bytesAcknowledged),
        received: facts.readBigUInt64LE(AT.bytesReceived),
      };
    },
    bytesHeld(socket) {
      if (!read(socket, SOL_SOCKET, SO_MEMINFO, memory)) return 0;
      const { receiveQueue, sendQueue, allocatedAhead } = MEMINFO;
      const at = (index: number): number => memory[index] ?? 0;
      return at(receiveQueue) + at(sendQueue) + at(allocatedAhead);
    },
    duplicate(server) {
      const fd = fcntl(numberOf(server) ?? -1, F_DUPFD_CLOEXEC, 0);
      if (fd < 0) throw Object.assign(new Error("no second descriptor"), { code: getSystemErrorName(-errno()) });
      return fd;
    },
  };
}

interface SystemCalls {
  readonly getsockopt: (fd: number, level: number, name: number, into: ArrayBufferView, length: Uint32Array) => number;
  readonly fcntl: (fd: number, command: number, argument: number) => number;
  readonly errno: () => number;
}

async function systemCalls(): Promise<SystemCalls> {
  try {
    const { load, errno } = await import("koffi");
    const libc = load(null);
    return {
      getsockopt: libc.func("int getsockopt(int fd, int level, int name, void *value, uint32_t *length)"),
      fcntl: libc.func("int fcntl(int fd, int command, int argument)"),
      errno: () => errno(),
    };
  } catch (cause) {
    throw unfit(cause instanceof Error ? cause.message : String(cause));
  }
}

/** @throws MeshProxyError `node` where this Node does not tell the descriptor of a socket */
export function requireNumber(server: Server): void {
  if (numberOf(server) === undefined) throw unfit("sockets without descriptors");
}

function numberOf(socket: Server | Socket): number | undefined {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: unknown } | null };
  return typeof handle?.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}

function unfit(got: string): MeshProxyError {
  return new MeshProxyError("node", "this Node can't be asked what the kernel knows of a connection", {
    got,
    hint: "use the Node of the images, with the native module koffi",
  });
}
