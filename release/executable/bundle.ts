import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { join, relative } from "node:path";
import { rolldown } from "rolldown";
import { NATIVE } from "../../images/bundle.ts";
import { ReleaseError } from "../error.ts";

/** What the CommonJS in the bundle still asks for when it runs: the bundler calls its `require` so. */
const REQUIRED = /\b__require\(\s*(?:\/\*[^*]*\*\/\s*)?["']([^"']+)["']/g;

export interface Bundle {
  readonly file: string;
  /** All modules that went in. Those of packages are below `<directory>/node_modules/`. */
  readonly modules: readonly string[];
}

/**
 * Puts the CLI and all that it imports into one module, not minified, so that what runs can be read. The same sources give
 * the same bytes wherever they lie.
 *
 * @param root the checkout, with node_modules/
 * @param dist what was compiled
 * @param directory a folder that is not there yet
 * @throws ReleaseError `unfit_bundle`
 */
export async function bundleCli(root: string, dist: string, directory: string): Promise<Bundle> {
  await mkdir(directory);
  // The bundler writes the paths of modules into its output: let them be the same everywhere.
  await symlink(dist, join(directory, "dist"));
  await symlink(join(root, "node_modules"), join(directory, "node_modules"));
  await cp(join(import.meta.dirname, "koffi.ts"), join(directory, "koffi.ts"));
  await writeFile(join(directory, "package.json"), '{ "type": "module" }\n');
  const build = await rolldown({
    input: join(directory, "dist/cli/program.js"),
    cwd: directory,
    platform: "node",
    resolve: { symlinks: false, alias: { [NATIVE]: join(directory, "koffi.ts") } },
    logLevel: "warn",
  });
  const name = "contrast.mjs";
  const { output } = await build.write({ dir: directory, format: "esm", codeSplitting: false, entryFileNames: name });
  await build.close();
  const [{ code, imports, dynamicImports, modules }] = output;
  const required = Array.from(code.matchAll(REQUIRED), ([, module = ""]) => module);
  // The entry stands for what it imports dynamically, and what went into it.
  const loaded = [...imports, ...dynamicImports, ...required].filter((module) => module !== name);
  const missing = loaded.filter((module) => !isBuiltin(module));
  if (missing.length > 0) {
    throw new ReleaseError("unfit_bundle", "the command line does not go into one module", {
      got: `it loads ${missing.join(", ")}`,
      want: "Node's own modules alone",
    });
  }
  return { file: join(directory, name), modules: Object.keys(modules).map((module) => relative(directory, module)) };
}
