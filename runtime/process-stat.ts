import { readFileSync } from "node:fs";

/** What the kernel says of a process (proc_pid_stat(5)). */
export interface ProcessStat {
  readonly pid: number;
  /** One letter; Z: it has ended, and its parent has not asked how. */
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  /** Of the process, and of its children that were waited for; user and system, in hundredths of a second (USER_HZ). */
  readonly ticks: number;
  readonly ticksOfChildren: number;
  /** With the pid it names one process, as pids are used again. */
  readonly startTime: string;
}

/** @returns undefined where there is no such process */
export function processStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

/** @returns undefined for a process that ended, also where its parent has not yet asked how */
export function runningProcess(pid: number): ProcessStat | undefined {
  const stat = processStat(pid);
  return stat === undefined || stat.state === "Z" || stat.state === "X" ? undefined : stat;
}

/** The name of the program, in parentheses, may hold anything, parentheses too; after it come numbers alone. */
export function parseStat(text: string): ProcessStat | undefined {
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  const [state = ""] = fields;
  // Fields have the numbers of the manual, from 1. The first two are before the end of the name.
  const field = (number: number): number => Number(fields[number - 3]);
  const startTime = fields[22 - 3];
  if (end < 0 || startTime === undefined) return undefined;
  return {
    pid: parseInt(text, 10),
    state,
    parent: field(4),
    session: field(6),
    ticks: field(14) + field(15),
    ticksOfChildren: field(16) + field(17),
    startTime,
  };
}
