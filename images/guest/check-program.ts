import { homedir } from "node:os";
import { join } from "node:path";
import { readFile } from "node:fs/promises";
import { run } from "../run.ts";

const TARGET = "x86_64-unknown-linux-gnu";
const CRATE = join(import.meta.dirname, "check");

export interface CheckProgram {
  readonly bytes: Buffer;
  /** The compiler, of which the bytes depend: `rustc 1.96.0 (…)`. */
  readonly compiler: string;
}

/**
 * Builds the check as one static program. The same sources and compiler give the same bytes in every folder.
 *
 * @param cache a folder for what cargo keeps
 * @throws ImageError tool_missing, build_failed
 */
export async function buildCheck(cache: string, stop?: AbortSignal, crate = CRATE): Promise<CheckProgram> {
  await cargo(["build", "--release"], cache, { stop, crate });
  const compiler = (await run("rustc", ["--version"], { stop })).trim();
  return { bytes: await readFile(join(cache, TARGET, "release", "guest-check")), compiler };
}

interface CargoOptions {
  readonly stop?: AbortSignal | undefined;
  readonly crate?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** @param command `build` or `test`, and what of it */
export async function cargo(
  command: readonly string[],
  cache: string,
  { stop, crate = CRATE, env = {} }: CargoOptions = {},
): Promise<void> {
  const flags = [
    "-Ctarget-feature=+crt-static",
    // Paths of this machine would be in the program.
    `--remap-path-prefix=${crate}=/check`,
    `--remap-path-prefix=${homedir()}=/home`,
  ];
  const variables = { ...env, CARGO_ENCODED_RUSTFLAGS: flags.join("\u001f"), CARGO_TARGET_DIR: cache };
  const [verb = "", ...rest] = command;
  const args = [verb, "--locked", "--quiet", "--target", TARGET, ...rest];
  await run("cargo", args, { cwd: crate, stop, env: variables });
}
