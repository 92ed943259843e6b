import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { Malformed, type Variable } from "./environment.ts";

/**
 * How much memory this process may use before the kernel ends it: the smallest limit of its control group and of those
 * above it, in version 2 (Documentation/admin-guide/cgroup-v2.rst, `memory.max`) or 1
 * (Documentation/admin-guide/cgroup-v1/memory.rst, `memory.limit_in_bytes`), or the memory of the machine.
 */
export interface MemorySource {
  /** The text of a file; undefined where there is none. */
  readonly read: (path: string) => string | undefined;
  /** Bytes. */
  readonly machine: number;
}

/** Of this process. */
export const system: MemorySource = {
  read(path) {
    try {
      return readFileSync(path, "latin1");
    } catch {
      return undefined;
    }
  },
  machine: totalmem(),
};

const MOUNT = "/sys/fs/cgroup";

/** @returns bytes */
export function memoryLimit({ read, machine }: MemorySource): number {
  const files = (read("/proc/self/cgroup") ?? "").split("\n").flatMap(limitFiles);
  // In a container without a namespace of its own for control groups, the path is the host's and the mount its own.
  files.push(join(MOUNT, "memory.max"), join(MOUNT, "memory", "memory.limit_in_bytes"));
  // "max" of version 2 is no number, "unlimited" of version 1 is larger than every machine.
  const limits = files.map((file) => Number.parseInt(read(file) ?? "", 10)).filter((limit) => limit > 0);
  return Math.min(machine, ...limits);
}

/** @param line `hierarchy:controllers:path` of cgroups(7); version 2 has hierarchy 0 and no controllers */
function limitFiles(line: string): string[] {
  const [, hierarchy, controllers = "", path = ""] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
  if (hierarchy === "0") return above(path).map((group) => join(MOUNT, group, "memory.max"));
  if (!controllers.split(",").includes("memory")) return [];
  return above(path).map((group) => join(MOUNT, "memory", group, "memory.limit_in_bytes"));
}

/** The group and all groups that it is in. */
function above(path: string): string[] {
  return path === "/" ? [path] : [path, ...above(dirname(path))];
}

const UNITS = { "": 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, k: 1e3, M: 1e6, G: 1e9 } as const;

/** A quantity as in Kubernetes' limits: `268435456`, `256Mi`, `1Gi`. */
export const memoryLimitVariable: Variable<number | undefined> = {
  help: "memory that this program may use, like 256Mi (default: the limit of its control group)",
  unset: undefined,
  parse(text) {
    const [, digits, unit] = /^([1-9]\d{0,14})(Ki|Mi|Gi|k|M|G)?$/.exec(text) ?? [];
    const bytes = Number(digits) * UNITS[(unit ?? "") as keyof typeof UNITS];
    if (!Number.isSafeInteger(bytes)) throw Malformed.text(text, "bytes, or a number with Ki, Mi or Gi, like 256Mi");
    return bytes;
  },
};
