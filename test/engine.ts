import { spawn } from "node:child_process";
import { once } from "node:events";
import { type OwnEngine, startOwnEngine, whyNoEngine } from "../demo/compose/own-engine.ts";

/** Why images can't be built and run here, or undefined. */
export const NO_ENGINE = whyNoEngine("buildah", "mmdebstrap", "cargo");

export interface Engine extends OwnEngine {
  /** Runs a program in its network to its end. */
  readonly run: (command: readonly string[], environment?: Readonly<Record<string, string>>) => Promise<Ended>;
}

export interface Ended {
  readonly code: number | null;
  /** What it wrote to stdout and stderr. */
  readonly output: string;
}

/** An engine for tests, whose bridges, rules and mounts are seen by nobody else. */
export async function startEngine(): Promise<Engine> {
  const engine = await startOwnEngine();
  const { inside, environment } = engine;
  return { ...engine, run: (command, more = {}) => runToEnd([...inside, ...command], { ...environment, ...more }) };
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
