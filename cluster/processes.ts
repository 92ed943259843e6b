import { spawn } from "node:child_process";
import { openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runningProcess } from "../runtime/process-stat.ts";
import { inNamespace } from "./commands.ts";
import { type Layout, NODE } from "./layout.ts";

/** The programs of the node, which go on when this one ends. Each is known by its id and the time at which it started. */

interface Started {
  readonly pid: number;
  readonly started: string;
}

export function start({ run, logs, bin }: Layout, name: string, command: string, ...args: readonly string[]): void {
  if (find(run, name) !== undefined) return;
  const log = openSync(join(logs, `${name}.log`), "a");
  const [file, all] = inNamespace(NODE.namespace, [command, ...args]);
  const child = spawn(file, all, {
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? ""}` },
  });
  child.unref();
  if (child.pid === undefined) throw new Error(`${name} could not be started`);
  const started: Started = { pid: child.pid, started: runningProcess(child.pid)?.startTime ?? "" };
  writeFileSync(join(run, `${name}.process`), JSON.stringify(started));
}

/** Asks it to end, and kills it after ten seconds. */
export async function stop({ run }: Layout, name: string): Promise<void> {
  for (let waited = 0; ; waited += 100) {
    const pid = find(run, name);
    if (pid === undefined) break;
    if (waited === 0) signal(pid, "SIGTERM");
    if (waited === 10_000) signal(pid, "SIGKILL");
    await sleep(100);
  }
  rmSync(join(run, `${name}.process`), { force: true });
}

/** Kills it, as a machine's memory killer does. `start` starts it again. */
export async function stopAtOnce({ run }: Layout, name: string): Promise<void> {
  for (let pid = find(run, name); pid !== undefined; pid = find(run, name)) {
    signal(pid, "SIGKILL");
    await sleep(50);
  }
}

/** It may have ended meanwhile. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** The ids of all processes in one of these network namespaces, and of their children, which may be in pods' namespaces. */
export function processesIn(namespaces: readonly string[]): number[] {
  const wanted = new Set(namespaces.map((name) => inode(`/run/netns/${name}`)).filter((id) => id !== undefined));
  const inside = readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && wanted.has(inode(`/proc/${entry}/ns/net`) ?? -1))
    .map(Number);
  return inside.flatMap((pid) => [...childrenOf(pid), pid]);
}

function childrenOf(pid: number): number[] {
  const ids = read(`/proc/${pid}/task/${pid}/children`)?.trim() ?? "";
  return ids === "" ? [] : ids.split(" ").map(Number);
}

/** @returns undefined: it has ended, or may not be looked at, and is not ours */
function inode(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

function find(run: string, name: string): number | undefined {
  const text = read(join(run, `${name}.process`));
  if (text === undefined) return undefined;
  const { pid, started } = JSON.parse(text) as Started;
  return runningProcess(pid)?.startTime === started ? pid : undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}
