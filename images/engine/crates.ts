import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse } from "smol-toml";
import { run, type RunOptions } from "../run.ts";

/** A crate that is linked into the engine. */
export interface Crate {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly license: string;
  readonly authors: readonly string[];
  /** SHA-256 of the package, hexadecimal, as Cargo.lock has it; undefined: a crate of this repository. */
  readonly checksum: string | undefined;
  /** Its sources. */
  readonly folder: string;
}

/** `cargo metadata --format-version 1`, of it what is read. */
interface Metadata {
  readonly packages: readonly {
    readonly name: string;
    readonly version: string;
    readonly license: string | null;
    readonly authors: readonly string[];
    readonly manifest_path: string;
  }[];
}

/**
 * The crates whose code is in the engine for a machine, those of this repository included: what the addon depends on, but
 * nothing that only builds or tests it. Macros run in the compiler, and so do the crates that only they need.
 *
 * @param engine the folder of the crates
 * @param triple Rust's name for the machine
 * @throws ImageError tool_missing, build_failed
 */
export async function readCrates(engine: string, triple: string, options: RunOptions = {}): Promise<Crate[]> {
  const cargo = async (...args: string[]): Promise<string> => run("cargo", args, { ...options, cwd: engine });
  // The metadata alone have features in them that only tests ask for.
  const edges = ["--package=engine-node", "--edges=normal,no-proc-macro", `--target=${triple}`];
  const tree = await cargo("tree", "--locked", ...edges, "--prefix=none", "--format={p}");
  const linked = new Set(Array.from(tree.matchAll(/^(\S+) v(\S+)/gm), ([, name, version]) => `${name} ${version}`));
  const metadata = await cargo("metadata", "--locked", "--format-version=1", `--filter-platform=${triple}`);
  const checksums = await readChecksums(join(engine, "Cargo.lock"));
  return (JSON.parse(metadata) as Metadata).packages
    .map(({ name, version, license, authors, manifest_path: manifest }) => ({
      name,
      version,
      license: license ?? "",
      authors,
      checksum: checksums.get(`${name} ${version}`),
      folder: dirname(manifest),
    }))
    .filter(({ name, version }) => linked.has(`${name} ${version}`))
    .toSorted((a, b) => (`${a.name} ${a.version}` < `${b.name} ${b.version}` ? -1 : 1));
}

/** By name and version; all that is not of this repository has one. */
async function readChecksums(lockFile: string): Promise<ReadonlyMap<string, string>> {
  const lock = parse(await readFile(lockFile, "utf8")) as unknown as {
    package: readonly { name: string; version: string; checksum?: string }[];
  };
  const entries = lock.package.flatMap(({ name, version, checksum }) =>
    checksum === undefined ? [] : [[`${name} ${version}`, checksum] as const],
  );
  return new Map(entries);
}
