import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Bill, billOf, npmEntry, npmPurl } from "../images/sbom.ts";
import { compile } from "./compile.ts";
import type { PackedEngine } from "./engines.ts";
import type { ReleasedImage } from "./images.ts";
import { pack, PUBLISH } from "./pack.ts";
import { type Manifest, readManifest } from "./readiness.ts";

/**
 * Of the checkout's package.json; the rest is for those who work in it. `engines` is what the library of the package runs
 * on. Its programs ask for a newer Node, and an older one says so in one line (launch/cli.ts).
 */
const KEPT = [
  "name",
  "version",
  "description",
  "license",
  "repository",
  "type",
  "engines",
  "bin",
  "exports",
  "dependencies",
];

/**
 * Makes the npm package: the compiled programs, without the demo, that know the images of this release. npm installs the
 * native engine beside it, where there is one for the machine.
 *
 * @param work a folder for what is only needed meanwhile
 * @param out where the tarball goes
 * @param built what the programs are to know as the time of their build
 * @returns its name
 * @throws ReleaseError faulty_package, ImageError
 */
export async function packNpm(
  root: string,
  work: string,
  out: string,
  images: readonly ReleasedImage[],
  engines: readonly PackedEngine[],
  built: Date | undefined,
): Promise<string> {
  const manifest = await readManifest(root);
  await compile(root, join(work, "dist"), built);
  await rm(join(work, "dist", "demo"), { recursive: true });
  await writeFile(join(work, "dist", "policy", "released-images.js"), releasedImages(images));
  for (const file of ["README.md", "CHANGELOG.md", "LICENSE"]) await cp(join(root, file), join(work, file));
  await writeFile(join(work, "package.json"), `${JSON.stringify(publishable(manifest, engines), undefined, 2)}\n`);
  return pack(work, out);
}

/** What the package brings along, by the lock file; koffi's binaries are one package for each platform. */
export async function packageBill(root: string, engines: readonly PackedEngine[]): Promise<Bill> {
  const { name, version, description, license } = await readManifest(root);
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; license: string; dev?: true; devOptional?: true }>;
  };
  const entries = Object.entries(lock.packages)
    .filter(([path, { dev, devOptional }]) => path !== "" && dev === undefined && devOptional === undefined)
    .map(([path, { version, license }]) =>
      npmEntry({ name: path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length), version, license }),
    );
  const purl = npmPurl(name, version);
  const licenses = [{ license: { id: license } }];
  const component = { type: "application", "bom-ref": purl, name, version, purl, description, licenses };
  return billOf(component, [...entries, ...engines.map(npmEntry)]);
}

function publishable(manifest: Manifest, engines: readonly PackedEngine[]): Record<string, unknown> {
  return {
    ...Object.fromEntries(KEPT.filter((key) => manifest[key] !== undefined).map((key) => [key, manifest[key]])),
    optionalDependencies: Object.fromEntries(engines.map(({ name, version }) => [name, version])),
    files: ["dist", "CHANGELOG.md"],
    publishConfig: PUBLISH,
  };
}

/** The module that policy/released-images.ts is in a checkout. */
function releasedImages(images: readonly ReleasedImage[]): string {
  const known = Object.fromEntries(images.map(({ name, pinned }) => [name, pinned]));
  return `export const RELEASED_IMAGES = ${JSON.stringify(known, undefined, 2)};\n`;
}
