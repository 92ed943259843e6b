import { type ChildProcess, spawn } from "node:child_process";
import { createReadStream, createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The processes of the demo: each with a log file of its own, all of them ended when the demo ends. */
export class Processes {
  readonly #root: string;
  readonly #logs: string;
  readonly #running = new Map<ChildProcess, Promise<number>>();

  /** @param root of the checkout @param logs a directory, made if missing */
  constructor(root: string, logs: string) {
    this.#root = root;
    this.#logs = logs;
    mkdirSync(logs, { recursive: true });
  }

  /**
   * Starts a program of the checkout with exactly this environment.
   *
   * @param name of the log file
   */
  start(name: string, args: readonly string[], env: Readonly<Record<string, string>>): Running {
    const child = spawn(process.execPath, ["--import", "./demo/end-with-demo.ts", ...args], {
      cwd: this.#root,
      // The logs' place marks the processes of this run for whoever looks for leftovers.
      env: { PATH: process.env["PATH"] ?? "", DEMO_LOGS: this.#logs, DEMO_PID: String(process.pid), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const log = this.log(name);
    const file = createWriteStream(log, { flags: "a" });
    child.stderr.pipe(file, { end: false });
    child.stdout.pipe(file, { end: false });
    const output: Buffer[] = [];
    child.stdout.on("data", (data: Buffer) => output.push(data));
    const exited = new Promise<number>((resolve) => {
      // `close` comes when the output is complete; a program that could not be started has `error` alone.
      child.once("error", () => resolve(-1));
      child.once("close", (code) => resolve(code ?? -1));
    }).finally(() => {
      this.#running.delete(child);
      file.end();
    });
    this.#running.set(child, exited);
    const ready = new Promise<boolean>((resolve) => {
      createInterface({ input: child.stderr }).on("line", (line) => {
        if (isReady(line)) resolve(true);
      });
      void exited.then(() => resolve(false));
    });
    return { name, log, ready, exited, stop: () => this.#stop(child), stdout: () => Buffer.concat(output).toString() };
  }

  log(name: string): string {
    return join(this.#logs, `${name}.log`);
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((child) => this.#stop(child)));
  }

  /** Without waiting: for the last moment of the process. */
  killAll(): void {
    for (const child of this.#running.keys()) child.kill("SIGKILL");
  }

  async #stop(child: ChildProcess): Promise<void> {
    const exited = this.#running.get(child);
    if (exited === undefined) return;
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), 3000);
    await exited;
    clearTimeout(force);
  }
}

export interface Running {
  readonly name: string;
  readonly log: string;
  /** Whether the program said so before it ended. */
  readonly ready: Promise<boolean>;
  /** The exit code; -1 for a signal. */
  readonly exited: Promise<number>;
  readonly stop: () => Promise<void>;
  readonly stdout: () => string;
}

/** The last lines of a log that say why a program failed. */
export async function lastLines(log: string, count: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: createReadStream(log) })) {
    lines.push(line);
    if (lines.length > count) lines.shift();
  }
  return lines;
}

function isReady(line: string): boolean {
  try {
    return (JSON.parse(line) as { msg?: unknown }).msg === "ready";
  } catch {
    return false;
  }
}
