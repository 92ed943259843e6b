import { copyFile, cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { enginePackage } from "../../mesh-proxy/native/addon.ts";
import { VERSION } from "../../runtime/version.ts";
import type { Architecture } from "../architecture.ts";
import type { BuiltEngine } from "./build.ts";
import { copyLicenses } from "./licenses.ts";

/**
 * The engine as a package of npm, which images and installations find it in. npm installs it where machine and C library
 * are those that it is for, and passes it over elsewhere.
 *
 *     engine.node
 *     licenses/     those of the crates
 *
 * @param root of the checkout
 * @returns its name
 */
export async function writeEnginePackage(
  root: string,
  { npm }: Architecture,
  { file, crates }: BuiltEngine,
  directory: string,
): Promise<string> {
  const licenses = new Set(crates.map(({ license }) => (license.includes(" OR ") ? `(${license})` : license)));
  const manifest = engineManifest(npm, [...licenses].toSorted().join(" AND "));
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  await copyFile(file, join(directory, "engine.node"));
  await cp(join(root, "LICENSE"), join(directory, "LICENSE"));
  await copyLicenses(crates, join(directory, "licenses"));
  return manifest.name;
}

/** package.json. @param cpu as Node calls it @param license an SPDX expression */
export function engineManifest(cpu: Architecture["npm"], license: string) {
  return {
    name: enginePackage(cpu),
    version: VERSION,
    description: `The native engine of Contrast's mesh proxy, for Linux with glibc on ${cpu}`,
    license,
    type: "commonjs",
    main: "engine.node",
    files: ["engine.node", "licenses"],
    os: ["linux"],
    cpu: [cpu],
    libc: ["glibc"],
  };
}
