import { homedir } from "node:os";
import { join } from "node:path";
import { readFile } from "node:fs/promises";
import { run } from "../run.ts";

const TARGET = "x86_64-unknown-linux-gnu";

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
export async function buildCheck(cache: string, stop?: AbortSignal): Promise<CheckProgram> {
  const crate = join(import.meta.dirname, "check");
  await runCargo(crate, cache, ["build"], stop);
  const compiler = (await run("rustc", ["--version"], { stop })).trim();
  return { bytes: await readFile(join(cache, TARGET, "release", "guest-check")), compiler };
}

/** @param command `build` with what is built, or `test` */
export async function runCargo(
  crate: string,
  cache: string,
  command: readonly string[],
  stop?: AbortSignal,
): Promise<void> {
  const flags = [
    "-Ctarget-feature=+crt-static",
    // Paths of this machine would be in the program.
    `--remap-path-prefix=${crate}=/check`,
    `--remap-path-prefix=${homedir()}=/home`,
  ];
  const env = { CARGO_ENCODED_RUSTFLAGS: flags.join("\u001f"), CARGO_TARGET_DIR: cache };
  const args = [...command, "--locked", "--quiet", "--release", "--target", TARGET];
  await run("cargo", args, { cwd: crate, stop, env });
}
