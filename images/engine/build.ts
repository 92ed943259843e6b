import { copyFile, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Architecture, isOfThisMachine } from "../architecture.ts";
import { ImageError } from "../error.ts";
import { run, type RunOptions } from "../run.ts";
import { type Crate, readCrates } from "./crates.ts";

/** Builds the native engine of the mesh proxy with cargo, which does nothing where all of it is built already. */

export interface EngineSource {
  /** The folder of the crates, with Cargo.lock. */
  readonly source: string;
  /** Where cargo keeps what it builds. */
  readonly target: string;
}

export interface BuiltEngine {
  /** `engine.node`. */
  readonly file: string;
  /** What is in it. */
  readonly crates: readonly Crate[];
  /** The compiler, on which the bytes depend and whose library is in it: `1.96.0`. */
  readonly rust: string;
}

/** @param root of the checkout */
export function engineSource(root: string): EngineSource {
  return { source: join(root, "mesh-proxy", "engine"), target: join(root, "node_modules", ".cache", "engine") };
}

/** Where a built engine lies: programs of a checkout find that of their own machine there (mesh-proxy/native/addon.ts). */
export function engineFile({ target }: EngineSource, architecture: Architecture): string {
  return join(target, isOfThisMachine(architecture) ? "engine.node" : `engine.linux-${architecture.npm}-gnu.node`);
}

/** @throws ImageError tool_missing, build_failed */
export async function buildEngine(
  from: EngineSource,
  architecture: Architecture,
  options: RunOptions = {},
): Promise<BuiltEngine> {
  const { source, target } = from;
  const triple = tripleOf(architecture);
  const rust = await requireEngineTools(architecture, options);
  const crates = await readCrates(source, triple, options);
  const { args, env } = cargoFor(from, architecture, crates);
  await run("cargo", ["build", ...args], { ...options, cwd: source, env });
  const file = engineFile(from, architecture);
  // A process may have the old file in memory, which must stay as it is.
  await rm(file, { force: true });
  await copyFile(join(target, triple, "release", "libengine_node.so"), file);
  return { file, crates, rust };
}

/** What cargo is told by the build and by tests, so that neither compiles anew what the other one has. */
export function cargoFor(
  from: EngineSource,
  architecture: Architecture,
  crates: readonly Crate[],
): { readonly args: readonly string[]; readonly env: Readonly<Record<string, string>> } {
  return {
    args: ["--release", "--locked", "--target", tripleOf(architecture), "--target-dir", from.target],
    env: { CARGO_ENCODED_RUSTFLAGS: flags(from, crates).join("\u001f"), ...linker(architecture) },
  };
}

/** Rust's name for the machine. */
export function tripleOf({ tuple }: Architecture): string {
  return tuple.replace("-linux-", "-unknown-linux-");
}

/** No path of this machine is in what is built: panics name files, and the digest must not depend on the folder. */
function flags({ source, target }: EngineSource, crates: readonly Crate[]): string[] {
  const registries = new Set(crates.flatMap(({ folder, checksum }) => (checksum === undefined ? [] : dirname(folder))));
  const renamed = [[source, "/engine"], [target, "/target"], ...[...registries].map((folder) => [folder, "/crates"])];
  return renamed.map(([from, to]) => `--remap-path-prefix=${from}=${to}`);
}

function linker(architecture: Architecture): Readonly<Record<string, string>> {
  if (isOfThisMachine(architecture)) return {};
  const name = `CARGO_TARGET_${tripleOf(architecture).toUpperCase().replaceAll("-", "_")}_LINKER`;
  return { [name]: `${architecture.tuple}-gcc` };
}

/** @returns the version of Rust @throws ImageError tool_missing */
export async function requireEngineTools(architecture: Architecture, options: RunOptions = {}): Promise<string> {
  await run("cargo", ["--version"], options);
  const [, version = ""] = (await run("rustc", ["--version"], options)).split(" ");
  if (isOfThisMachine(architecture)) return version;
  const { debian, oci, tuple } = architecture;
  await run(`${tuple}-gcc`, ["--version"], options);
  const triple = tripleOf(architecture);
  const library = (await run("rustc", ["--print", "target-libdir", "--target", triple], options)).trim();
  if (await isFolder(library)) return version;
  throw new ImageError("tool_missing", `Rust's library for ${oci} is not installed`, {
    where: library,
    hint:
      `on Debian: dpkg --add-architecture ${debian} && apt-get update && apt-get install libstd-rust-web-dev:${debian}; ` +
      `with rustup: rustup target add ${triple}`,
  });
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
