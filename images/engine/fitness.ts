import { type Architecture } from "../architecture.ts";
import { ImageError } from "../error.ts";
import { run, type RunOptions } from "../run.ts";

/** What an ELF file says of the machine that it is for, and of the C library that it needs. */
export interface Needs {
  /** As readelf calls it, such as `AArch64`. */
  readonly machine: string;
  /** The newest version of a symbol of glibc that it asks for, such as `2.34`. */
  readonly glibc: string;
}

const MACHINES = { amd64: "Advanced Micro Devices X86-64", arm64: "AArch64" } as const;

/** @throws ImageError tool_missing, build_failed */
export async function needsOf(file: string, options: RunOptions = {}): Promise<Needs> {
  const text = await run("readelf", ["--file-header", "--version-info", "--wide", file], options);
  const [, machine = ""] = /^ *Machine: +(.*)$/m.exec(text) ?? [];
  const versions = Array.from(text.matchAll(/Name: GLIBC_([\d.]+)/g), ([, version = ""]) => version);
  return { machine, glibc: versions.toSorted(byNumber).at(-1) ?? "0" };
}

/**
 * @param libc the version of the C library that it will meet, as Debian writes it: `2.36-9+deb12u14`
 * @throws ImageError engine_unfit
 */
export async function requireFit(
  file: string,
  { oci }: Architecture,
  libc: string,
  options: RunOptions = {},
): Promise<void> {
  const { machine, glibc } = await needsOf(file, options);
  const message = "the native engine can't be loaded in the image";
  if (machine !== MACHINES[oci]) {
    throw new ImageError("engine_unfit", message, { where: file, got: machine, want: MACHINES[oci] });
  }
  const [has = ""] = libc.split("-");
  if (byNumber(glibc, has) <= 0) return;
  throw new ImageError("engine_unfit", message, {
    where: file,
    got: `it needs glibc ${glibc}`,
    want: `at most ${has}, which the base has`,
    hint: "build on Debian 12, or another system with as old a glibc",
  });
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
