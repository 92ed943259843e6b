import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A control group of its own for a program, with a limit of memory, as Kubernetes makes one for a container. */
export interface MemoryGroup {
  /** A command that ends by running what follows it, in the group. */
  readonly within: readonly string[];
  /** What is used and can't be taken back, in bytes: that of processes and of the kernel for them, without the cache of files. */
  readonly used: () => number;
  /** The most that was ever used, in bytes. */
  readonly peak: () => number;
  /** How often the kernel killed somebody for want of memory. */
  readonly kills: () => number;
  /** After all that ran in it has ended. */
  readonly remove: () => void;
}

const MOUNT = "/sys/fs/cgroup";

/** The files of both versions, by what is in them. */
const VERSIONS = [
  {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    files: "cache",
    peak: "memory.max_usage_in_bytes",
    kills: "memory.oom_control",
    own: /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m,
    mount: join(MOUNT, "memory"),
  },
  {
    limit: "memory.max",
    usage: "memory.current",
    files: "file",
    peak: "memory.peak",
    kills: "memory.events",
    own: /^0::(.*)$/m,
    mount: MOUNT,
  },
] as const;

let made = 0;

/** @returns undefined where this process may not make one */
export function makeMemoryGroup(bytes: number): MemoryGroup | undefined {
  for (const version of VERSIONS) {
    const own = version.own.exec(readFileSync("/proc/self/cgroup", "latin1"))?.[1];
    if (own === undefined) continue;
    made += 1;
    const group = join(version.mount, own, `contrast-test-${process.pid}-${made}`);
    try {
      mkdirSync(group);
    } catch {
      continue;
    }
    const read = (file: string): string => readFileSync(join(group, file), "latin1");
    try {
      if (!existsSync(join(group, version.peak))) throw new Error("no memory controller");
      writeFileSync(join(group, version.limit), String(bytes));
    } catch {
      rmdirSync(group);
      continue;
    }
    return {
      within: ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group],
      used: () =>
        Number(read(version.usage)) -
        Number(new RegExp(`^${version.files} (\\d+)$`, "m").exec(read("memory.stat"))?.[1]),
      peak: () => Number(read(version.peak)),
      kills: () => Number(/^oom_kill (\d+)$/m.exec(read(version.kills))?.[1]),
      remove: () => rmdirSync(group),
    };
  }
  return undefined;
}
