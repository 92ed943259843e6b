import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { GateLimits } from "../../runtime/gate.ts";
import { Malformed, type Variable } from "../../runtime/environment.ts";

/** How many event loops serve connections: one in the main thread, and one in each thread beside it. */
export const workersVariable: Variable<number | undefined> = {
  help: "how many event loops to serve on (default: one for each core it may use, at most 4)",
  unset: undefined,
  parse(text) {
    if (!/^([1-9]|[1-5]\d|6[0-4])$/.test(text)) throw Malformed.text(text, "a number from 1 to 64");
    return Number(text);
  },
};

/** A sidecar has the cores of a machine that others use too, and each loop takes 16 MB. */
const MOST_BY_ITSELF = 4;

/**
 * @param wanted by the configuration
 * @param cores that this process may use
 * @param handshakes of which every loop has to get a part
 */
export function eventLoops(wanted: number | undefined, cores: number, handshakes: GateLimits): number {
  const loops = wanted ?? Math.min(cores, MOST_BY_ITSELF);
  return Math.min(loops, handshakes.total, handshakes.perPeer);
}

/**
 * Cores that this process may use for all of its time. Node counts those it may run on, and knows the quota of cgroup v2;
 * that of v1 it misses in a container. Of a quota the whole cores count: a loop that has half of one stands still half of
 * the time.
 */
export function usableCores(): number {
  return Math.max(1, Math.floor(Math.min(availableParallelism(), quotaOfCgroup1() ?? Infinity)));
}

/** In cores (Documentation/scheduler/sched-bwc.rst); undefined: without one. */
function quotaOfCgroup1(): number | undefined {
  const read = (name: string): number => Number(readFileSync(`/sys/fs/cgroup/cpu/cpu.cfs_${name}_us`, "latin1"));
  try {
    const quota = read("quota");
    return quota > 0 ? quota / read("period") : undefined;
  } catch {
    return undefined;
  }
}
