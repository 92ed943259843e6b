import { readFileSync } from "node:fs";

/** File descriptors, of which a process has a limited number. */

/** For connections that were accepted and are yet to be made on the other side, and for everything else. */
const MOST_RESERVED = 1_024;

/** How many of the descriptors connections may use. @param limit of this process; undefined: none */
export function forConnections(limit: number | undefined): number {
  return limit === undefined ? Infinity : limit - Math.min(MOST_RESERVED, Math.ceil(limit / 4));
}

/** The limit of this process (proc_pid_limits(5)); Node has raised it as far as it may. */
export function descriptorLimit(): number | undefined {
  const soft = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return soft === undefined ? undefined : Number(soft);
}
