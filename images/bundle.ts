import { cp, readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { rolldown } from "rolldown";

/**
 * Puts a compiled program and what it imports into a few files: a program of 400 modules takes twice as long to start.
 * Nothing is renamed or minified, so that what runs can be read. koffi has native code and stays a package.
 */

export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

export const NATIVE = "koffi";

/**
 * @param root of the checkout, with dist/ and node_modules/
 * @param programs paths below dist/, like `initializer/main.js`; they keep them
 * @returns the packages that went in
 */
export async function bundle(root: string, programs: readonly string[], directory: string): Promise<NpmPackage[]> {
  const build = await rolldown({
    input: Object.fromEntries(programs.map((path) => [path.replace(/\.js$/, ""), join(root, "dist", path)])),
    cwd: root,
    platform: "node",
    external: [NATIVE],
    logLevel: "warn",
  });
  const { output } = await build.write({
    dir: directory,
    format: "esm",
    entryFileNames: "[name].js",
    // By content alone: a name must not depend on where the checkout lies.
    chunkFileNames: "chunks/[name]-[hash].js",
  });
  await build.close();
  const modules = output.flatMap((chunk) => (chunk.type === "chunk" ? Object.keys(chunk.modules) : []));
  return describePackages(packageFolders(modules));
}

/** Of the packages that modules belong to, each once. */
export function packageFolders(modules: readonly string[]): string[] {
  return [...new Set(modules.flatMap((module) => folderOf(module) ?? []))];
}

/** The JavaScript of koffi; the native code is in a package for each architecture. */
export async function copyNative(root: string, directory: string): Promise<NpmPackage[]> {
  const from = join(root, "node_modules", NATIVE);
  for (const path of await readdir(from, { recursive: true })) {
    if (!/^(?:[^/]+|src\/.+)\.(?:js|json|txt)$/.test(path)) continue;
    await cp(join(from, path), join(directory, "node_modules", NATIVE, path));
  }
  return describePackages([from]);
}

export async function describePackages(folders: readonly string[]): Promise<NpmPackage[]> {
  const packages = await Promise.all(
    folders.map(async (folder) => {
      const { name, version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as NpmPackage;
      return { name, version, license };
    }),
  );
  return packages.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The package that a module belongs to: the folder behind the last `node_modules`. */
function folderOf(module: string): string | undefined {
  const parts = module.split(sep);
  const at = parts.lastIndexOf("node_modules") + 1;
  if (at === 0) return undefined;
  return parts.slice(0, at + (parts[at]?.startsWith("@") === true ? 2 : 1)).join(sep);
}
