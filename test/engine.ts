import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/**
 * A Docker engine for tests, in a network and a mount namespace of its own: its bridges, rules and mounts are seen by
 * nobody else, and go with it.
 */

const NEEDS = ["dockerd", "docker", "buildah", "mmdebstrap", "nsenter"];

/** Why there can be no engine here, or undefined. */
export const NO_ENGINE = whyNot();

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "an engine needs root";
  const missing = NEEDS.find((program) => spawnSync("which", [program]).status !== 0);
  if (missing !== undefined) return `there is no ${missing}`;
  const compose = spawnSync("docker", ["compose", "version"], { encoding: "utf8" });
  return compose.status === 0 ? undefined : "docker has no compose v2";
}

export interface Engine {
  /** For whoever talks to it. */
  readonly environment: Readonly<Record<string, string>>;
  /** The beginning of a command line that is run in its network. */
  readonly inside: readonly string[];
  /** Runs a program in its network to its end. */
  readonly run: (command: readonly string[], environment?: Readonly<Record<string, string>>) => Promise<Ended>;
  readonly stop: () => Promise<void>;
}

export interface Ended {
  readonly code: number | null;
  /** What it wrote to stdout and stderr. */
  readonly output: string;
}

export async function startEngine(): Promise<Engine> {
  const directory = await mkdtemp(join(tmpdir(), "contrast-engine-"));
  const socket = `unix://${directory}/docker.sock`;
  const at = (name: string): string => join(directory, name);
  const child = spawn(
    "unshare",
    [
      "--net",
      "--mount",
      "sh",
      "-c",
      'ip link set lo up && exec dockerd "$@"',
      "dockerd",
      "--data-root",
      at("data"),
      "--exec-root",
      at("exec"),
      "--pidfile",
      at("pid"),
      "--host",
      socket,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-4_000)));
  const exited = once(child, "exit");
  const inside = ["nsenter", `--net=/proc/${child.pid}/ns/net`];
  const environment = { PATH: process.env["PATH"] ?? "", DOCKER_HOST: socket };
  const run: Engine["run"] = (command, more = {}) => runToEnd([...inside, ...command], { ...environment, ...more });
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    await exited;
    await rm(directory, { recursive: true, force: true });
  };
  for (let tries = 0; tries < 300 && child.exitCode === null; tries++) {
    if ((await run(["docker", "info"])).code === 0) return { environment, inside, run, stop };
    await delay(100);
  }
  await stop();
  throw new Error(`dockerd did not start: ${log}`);
}

/** Runs a program to its end, with these variables beside those of the test. */
export async function runToEnd(
  [program = "", ...args]: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Ended> {
  const running = spawn(program, args, { env: { ...process.env, ...environment } });
  let output = "";
  for (const stream of [running.stdout, running.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  const [code] = (await once(running, "close")) as [number | null];
  return { code, output };
}
