import { readdirSync, readFileSync } from "node:fs";

/** What the kernel says about a process (proc(5)). */

export function openDescriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** @returns bytes */
export function residentMemory(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
  return Number(kib) * 1024;
}
