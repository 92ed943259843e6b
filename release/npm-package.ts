import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../images/run.ts";
import { type Bill, billOf, npmEntry } from "../images/sbom.ts";
import { writeBuildTime } from "./build-time.ts";
import type { PackedEngine } from "./engines.ts";
import type { ReleasedImage } from "./images.ts";
import { pack, PUBLISH } from "./pack.ts";
import { type Manifest, readManifest } from "./readiness.ts";

/** What launch/cli.ts needs. The checkout brings its own Node along, so that it makes do with an older one. */
const ENGINE = ">=24.12";

/** Of the checkout's package.json; the rest is for those who work in it. */
const KEPT = ["name", "version", "description", "license", "repository", "type", "bin", "dependencies"];

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
  // Anew, and not from dist/, which may be of other sources.
  const compiler = join(root, "node_modules", ".bin", "tsc");
  await run(compiler, ["-p", "tsconfig.build.json", "--outDir", join(work, "dist")], { cwd: root });
  await writeBuildTime(join(work, "dist"), built);
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
  const purl = `pkg:npm/${name}@${version}`;
  const licenses = [{ license: { id: license } }];
  const component = { type: "application", "bom-ref": purl, name, version, purl, description, licenses };
  return billOf(component, [...entries, ...engines.map(npmEntry)]);
}

function publishable(manifest: Manifest, engines: readonly PackedEngine[]): Record<string, unknown> {
  return {
    ...Object.fromEntries(KEPT.filter((key) => manifest[key] !== undefined).map((key) => [key, manifest[key]])),
    optionalDependencies: Object.fromEntries(engines.map(({ name, version }) => [name, version])),
    files: ["dist", "CHANGELOG.md"],
    engines: { node: ENGINE },
    publishConfig: PUBLISH,
  };
}

/** The module that policy/released-images.ts is in a checkout. */
function releasedImages(images: readonly ReleasedImage[]): string {
  const known = Object.fromEntries(images.map(({ name, pinned }) => [name, pinned]));
  return `export const RELEASED_IMAGES = ${JSON.stringify(known, undefined, 2)};\n`;
}
