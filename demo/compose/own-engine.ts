import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ComposeError } from "./engine.ts";

/**
 * A Docker engine that belongs to one program: its bridges, rules, mounts and processes are seen by nobody else, and
 * they go with it. If the program is killed, they go too.
 */
export interface OwnEngine {
  /** For whoever talks to it. */
  readonly environment: Readonly<Record<string, string>>;
  /** The beginning of a command line that is run in its network. */
  readonly inside: readonly string[];
  /** Ends it with all its containers, and removes what it stored. */
  readonly stop: () => Promise<void>;
}

const NEEDS = ["dockerd", "docker", "unshare", "nsenter", "setpriv", "ip", "iptables"];
const START_TRIES = 300;
const STOP_MS = 60_000;

/**
 * Why this machine can't have such an engine, or undefined.
 *
 * @param more programs that whoever asks needs as well
 */
export function whyNoEngine(...more: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return "an engine needs root";
  const missing = [...NEEDS, ...more].find((program) => spawnSync("which", [program]).status !== 0);
  if (missing !== undefined) return `there is no ${missing}`;
  return spawnSync("docker", ["compose", "version"]).status === 0 ? undefined : "docker has no compose v2";
}

/** @throws ComposeError engine_failed */
export async function startOwnEngine(): Promise<OwnEngine> {
  const folder = await mkdtemp(join(tmpdir(), "contrast-engine-"));
  const script = join(import.meta.dirname, "own-engine.sh");
  const namespaces = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=TERM"];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", ...namespaces, "sh", script, folder], {
    stdio: ["ignore", "ignore", "pipe"],
    // Ctrl-C is for whoever uses it, who ends it afterwards.
    detached: true,
  });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-4_000)));
  const stop = async (): Promise<void> => {
    await end(child);
    await rm(folder, { recursive: true, force: true });
  };
  const engine: OwnEngine = {
    environment: { DOCKER_HOST: `unix://${join(folder, "docker.sock")}` },
    inside: ["nsenter", `--net=/proc/${child.pid}/ns/net`],
    stop,
  };
  const env = { ...process.env, ...engine.environment };
  for (let tries = 0; tries < START_TRIES && child.exitCode === null; tries++) {
    if (spawnSync("docker", ["version"], { env }).status === 0) return engine;
    await delay(100);
  }
  await stop();
  throw new ComposeError("engine_failed", "dockerd did not start", { got: log.trim().split("\n").at(-1) });
}

/** The end of `unshare` is the signal for the script, which holds the pipe until it has cleaned up. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const first = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
  const closed = once(child, "close");
  child.kill("SIGKILL");
  const patience = setTimeout(() => process.kill(Number(first), "SIGKILL"), STOP_MS);
  await closed;
  clearTimeout(patience);
}
