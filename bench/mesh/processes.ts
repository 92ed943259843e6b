import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { processStat } from "../../runtime/process-stat.ts";

/** Processes that the bench starts, what they cost by /proc, and how they are ended: by their id, never by a name. */

/** Of Linux: the unit of processor time in /proc/<pid>/stat, USER_HZ. */
const TICKS_PER_SECOND = 100;

export interface Program {
  readonly command: readonly [string, ...string[]];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Running {
  readonly pid: number;
  readonly stop: () => Promise<void>;
}

const running = new Set<Running>();
// Also where the bench itself fails.
process.once("exit", () => running.forEach(({ pid }) => process.kill(pid, "SIGTERM")));

/** Starts a program that accepts at `at` when it is ready. Throws with what it wrote where it ends before. */
export async function start({ command, environment }: Program, at: { host: string; port: number }): Promise<Running> {
  const [file, ...args] = command;
  const env = { PATH: process.env["PATH"], ...environment };
  const child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => (output = `${output}${text}`.slice(-4000)));
  await once(child, "spawn");
  const pid = child.pid ?? NaN;
  const self: Running = {
    pid,
    async stop() {
      running.delete(self);
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const hard = setTimeout(() => descendants(pid).forEach((id) => process.kill(id, "SIGKILL")), 2_000);
      await once(child, "exit");
      clearTimeout(hard);
    },
  };
  running.add(self);
  while (!(await accepts(at))) {
    if (child.exitCode !== null) throw new Error(`${command.join(" ")} ended: ${output}`);
    await sleep(1);
  }
  return self;
}

export async function stopAll(): Promise<void> {
  await Promise.all([...running].map(async (one) => one.stop()));
}

async function accepts(at: { host: string; port: number }): Promise<boolean> {
  const socket = connect(at);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
  const isAccepted = await promise;
  socket.destroy();
  return isAccepted;
}

/** A process and all below it. */
function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").filter(Boolean).map(Number);
  return [pid, ...children.flatMap(descendants)];
}

/** Processor time that the processes and those below them have used, in seconds. */
export function cpuSeconds(processes: readonly Running[]): number {
  let ticks = 0;
  for (const pid of processes.flatMap((one) => descendants(one.pid))) {
    const stat = processStat(pid);
    ticks += (stat?.ticks ?? 0) + (stat?.ticksOfChildren ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/**
 * Memory of the processes and those below them, in MB: the proportional set size (PSS), which counts each page, of programs and
 * libraries too, and of what several processes have in common to each its part.
 */
export function memoryMb(processes: readonly Running[]): number {
  let kilobytes = 0;
  for (const pid of processes.flatMap((one) => descendants(one.pid))) {
    kilobytes += Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1]);
  }
  return kilobytes / 1000;
}

export async function timed<T>(
  processes: readonly Running[],
  act: () => Promise<T>,
): Promise<{ seconds: number; cpu: number; result: T }> {
  const cpu = cpuSeconds(processes);
  const begin = performance.now();
  const result = await act();
  return { seconds: (performance.now() - begin) / 1000, cpu: cpuSeconds(processes) - cpu, result };
}

export async function stop(processes: readonly Running[]): Promise<void> {
  await Promise.all(processes.map(async (one) => one.stop()));
}

/**
 * Each connection of a proxy takes two descriptors, of which it keeps 1024 back; and a hard limit may be lower than what one
 * asks for.
 */
export function mostConnections(): number {
  const limits = readFileSync("/proc/self/limits", "latin1");
  return Math.floor((Number(/^Max open files\s+\d+\s+(\d+)/m.exec(limits)?.[1]) - 1_424) / 2);
}
