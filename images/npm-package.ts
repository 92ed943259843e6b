import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { describeError } from "../runtime/errors.ts";
import { ImageError } from "./error.ts";
import { run, type RunOptions } from "./run.ts";

/** A package of npm, pinned by its bytes. */
export interface PinnedPackage {
  readonly name: string;
  readonly version: string;
  /** Subresource Integrity: `sha512-<base64>` of the tarball, as in package-lock.json. */
  readonly integrity: string;
}

/** Where the tarballs of packages for other machines stay. @param root of the checkout */
export function packageCache(root: string): string {
  return join(root, "node_modules", ".cache", "contrast-images");
}

/** As package-lock.json pins it. @param root of the checkout */
export async function lockedPackage(root: string, name: string): Promise<PinnedPackage> {
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; integrity: string }>;
  };
  const { version = "", integrity = "" } = lock.packages[`node_modules/${name}`] ?? {};
  return { name, version, integrity };
}

/**
 * Fetches a package for whatever machine it is made for, without running anything of it, and unpacks it.
 *
 * @param cache where tarballs stay
 * @returns the unpacked folder
 * @throws ImageError
 */
export async function unpackPackage(
  wanted: PinnedPackage,
  cache: string,
  directory: string,
  options: RunOptions,
): Promise<string> {
  const tarball = join(cache, `${wanted.name.replaceAll("/", "-")}-${wanted.version}.tgz`);
  if ((await integrityOf(tarball)) !== wanted.integrity) await fetchPackage(wanted, cache, tarball, options);
  await mkdir(directory, { recursive: true });
  await run("tar", ["-xzf", tarball, "-C", directory, "--no-same-owner"], options);
  return join(directory, "package");
}

async function fetchPackage(wanted: PinnedPackage, cache: string, tarball: string, options: RunOptions): Promise<void> {
  const { name, version, integrity } = wanted;
  await mkdir(cache, { recursive: true });
  const where = `${name}@${version}`;
  let file: string;
  try {
    const packed = await run("npm", ["pack", where, "--json", "--pack-destination", cache], options);
    file = join(cache, (JSON.parse(packed) as [{ filename: string }])[0].filename);
  } catch (error) {
    if (error instanceof ImageError && error.code !== "build_failed") throw error;
    throw new ImageError("download_failed", "a package of npm can't be fetched", {
      where,
      got: describeError(error),
      cause: error,
    });
  }
  const got = await integrityOf(file);
  if (got !== integrity) {
    await rm(file, { force: true });
    throw new ImageError("download_failed", "npm gave another package than the one that is pinned", {
      where,
      got: String(got),
      want: integrity,
    });
  }
  await rename(file, tarball);
}

async function integrityOf(file: string): Promise<string | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  return bytes && `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
}
