import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Architecture } from "../images/architecture.ts";
import { buildTimeOf } from "../release/build-time.ts";
import { compile } from "../release/compile.ts";
import { buildExecutables } from "../release/executable/build.ts";
import type { Ended } from "./cli-deployment.ts";

/** The command line as one file, made from this checkout, and run where there is nothing else. */

const root = join(import.meta.dirname, "..");

/** @param directory a folder of the test's @param out where the files of the release go @returns the executable */
export async function makeExecutable(directory: string, architecture: Architecture, out: string): Promise<string> {
  const dist = join(directory, "dist");
  if (!existsSync(dist)) await compile(root, dist, buildTimeOf(root, undefined));
  const work = join(directory, `work-${architecture.oci}`);
  const [name = ""] = await buildExecutables({ root, dist, work, out, architectures: [architecture] });
  return join(out, name);
}

/**
 * @param command the executable, perhaps with what runs it
 * @param environment all that there is of one
 */
export async function runExecutable(
  command: readonly string[],
  args: readonly string[],
  cwd: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const [file = "", ...before] = command;
  const child = spawn(file, [...before, ...args], { cwd, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}
