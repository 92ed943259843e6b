import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ENGINES } from "../images/build.ts";
import { VERSION } from "../runtime/version.ts";
import { ReleaseError } from "./error.ts";
import { pack, PUBLISH } from "./pack.ts";
import { readManifest } from "./readiness.ts";

/** A native engine as a package of npm. */
export interface PackedEngine {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly tarball: string;
}

/**
 * Packs the native engines that `npm run images` put into the images, with their bills of materials.
 *
 * @param from a folder as images/program.ts writes it
 * @param work a folder for what is only needed meanwhile
 * @throws ReleaseError unusable_images, faulty_package, ImageError
 */
export async function packEngines(root: string, from: string, work: string, out: string): Promise<PackedEngine[]> {
  const { repository } = await readManifest(root);
  const engines: PackedEngine[] = [];
  for (const platform of await platforms(join(from, ENGINES))) {
    const directory = join(work, platform);
    await cp(join(from, ENGINES, platform), directory, { recursive: true });
    const manifest = await readManifest(directory);
    const { name, version, license } = manifest as typeof manifest & { readonly license: string };
    if (version !== VERSION) throw unusable(`version ${version}`, join(from, ENGINES, platform));
    const publishable = { ...manifest, ...(repository !== undefined && { repository }), publishConfig: PUBLISH };
    await writeFile(join(directory, "package.json"), `${JSON.stringify(publishable, undefined, 2)}\n`);
    const tarball = await pack(directory, out);
    const bill = await readFile(join(from, ENGINES, `${platform}.cdx.json`));
    await writeFile(join(out, tarball.replace(/\.tgz$/, ".cdx.json")), bill);
    engines.push({ name, version, license, tarball });
  }
  return engines;
}

async function platforms(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  if (folders.length === 0) throw unusable("no engine", directory);
  return folders.toSorted();
}

function unusable(got: string, where: string): ReleaseError {
  return new ReleaseError("unusable_images", "the native engines can't be released", {
    where,
    got,
    hint: "build them again: npm run images",
  });
}
