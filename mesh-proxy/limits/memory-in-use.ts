import { join } from "node:path";
import type { MemorySource } from "../../runtime/memory-limit.ts";

/**
 * What the kernel holds for the sockets of the process: bytes that were sent and not acknowledged, and that came and were not
 * read. Control groups of version 2 count them as memory of the process; it may be some MiB for each connection. What the
 * process itself holds has limits of its own; what the kernel holds nobody asks it before.
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

/** The last eighth is for what comes between two looks. */
const SHARE = 7 / 8;

const INTERVAL_MS = 100;

export interface ScarceMemory {
  /** Bytes; undefined: the kernel does not count sockets in. */
  readonly inUse: () => number | undefined;
  /** Of the process, in bytes. */
  readonly limit: number;
}

/** Looks at the memory from time to time, and has connections reset before there is none left. @param shed so many bytes */
export function shedWhileScarce({ inUse, limit }: ScarceMemory, shed: (bytes: number) => void): void {
  if (inUse() === undefined) return;
  setInterval(() => {
    const excess = (inUse() ?? 0) - limit * SHARE;
    if (excess > 0) shed(excess);
  }, INTERVAL_MS).unref();
}
