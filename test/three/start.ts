import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { NAMESPACES } from "./network.ts";

/** Why three Coordinators can't have namespaces here; undefined: they can. */
export const NO_NAMESPACES = whyNot();

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can make network namespaces";
  const [file, ...args] = NAMESPACES;
  try {
    execFileSync(file, [...args, "sh", "-c", "ip link add bridge type bridge && iptables -w -F"], { stdio: "pipe" });
    return undefined;
  } catch (error) {
    return String(error instanceof Error ? error.message : error)
      .trim()
      .replaceAll("\n", ": ");
  }
}

/** The rounds as a process in namespaces of its own, which ends with this one. @param args of program.ts */
export function startRounds(args: readonly string[]): ChildProcess {
  const [file, ...namespaces] = NAMESPACES;
  return spawn(file, [...namespaces, process.execPath, join(import.meta.dirname, "program.ts"), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
}
