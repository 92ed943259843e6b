import { join } from "node:path";
import type { Server, Socket } from "node:net";
import type { MemorySource } from "../../runtime/memory-limit.ts";
import type { SocketOption } from "../streams/socket-option.ts";

/**
 * What the kernel holds for the sockets of the process: bytes that were sent and not acknowledged, and that came and were not
 * read. Control groups of version 2 count them as memory of the process; it may be some MiB for each connection.
 */

const MOUNT = "/sys/fs/cgroup";

/** @returns bytes of memory that is in use and can't be taken back; undefined where the kernel does not count sockets in */
export function memoryInUse({ read }: Pick<MemorySource, "read">): number | undefined {
  const own = /^0::(\/.*)$/m.exec(read("/proc/self/cgroup") ?? "")?.[1] ?? "/";
  // In a container without a namespace of its own for control groups, the path is the host's and the mount its own.
  const stat = read(join(MOUNT, own, "memory.stat")) ?? read(join(MOUNT, "memory.stat")) ?? "";
  const value = (name: string): number | undefined => {
    const digits = new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1];
    return digits === undefined ? undefined : Number(digits);
  };
  // Documentation/admin-guide/cgroup-v2.rst, memory.stat
  const sockets = value("sock");
  if (sockets === undefined) return undefined;
  return sockets + (value("anon") ?? 0) + (value("slab_unreclaimable") ?? 0) + (value("kernel_stack") ?? 0);
}

/** <linux/sock_diag.h>: the numbers of `SO_MEMINFO`, 4 bytes each. */
const MEMINFO = { receiveQueue: 0, allocatedAhead: 4, sendQueue: 5, count: 9 } as const;
/** <asm-generic/socket.h>; the same on x86-64 and arm64. */
const SOL_SOCKET = 1;
const SO_MEMINFO = 55;

/** @returns bytes that the kernel holds for a socket; 0 where it does not say */
export type MemoryOf = (socket: Socket | Server) => number;

export function socketMemory(read: SocketOption): MemoryOf {
  const numbers = new Uint32Array(MEMINFO.count);
  return (socket) => {
    if (!read(socket, SOL_SOCKET, SO_MEMINFO, numbers)) return 0;
    const at = (index: number): number => numbers[index] ?? 0;
    return at(MEMINFO.receiveQueue) + at(MEMINFO.sendQueue) + at(MEMINFO.allocatedAhead);
  };
}
