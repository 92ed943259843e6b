import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { buildVerifier, bundleForAll } from "../../release/build/verifier.ts";

/** A folder of somebody who has installed the package: with the files that are built, and what they ask for. */

const root = join(import.meta.dirname, "../..");

export interface Installed {
  readonly folder: string;
  /** Of the package's, in node_modules. */
  readonly library: string;
  readonly remove: () => Promise<void>;
}

export async function install(): Promise<Installed> {
  const folder = await mkdtemp(join(tmpdir(), "verifier-package-"));
  const library = join(folder, "node_modules", "@contrast-mesh", "contrast");
  await mkdir(join(library, "dist", "verifier"), { recursive: true });
  // As tsc does, for two files in place of a thousand.
  await writeFile(join(library, "dist/verifier/mesh-fetch.js"), await plain(join(root, "verifier/mesh-fetch.ts")));
  await buildVerifier(root, join(library, "dist"));
  await cp(join(root, "package.json"), join(library, "package.json"));
  await symlink(join(root, "node_modules", "undici"), join(folder, "node_modules", "undici"));
  await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
  await writeFile(join(folder, "questions.js"), await plain(join(import.meta.dirname, "questions.ts")));
  await writeFile(join(folder, "judge.js"), await bundleForAll(root, join(import.meta.dirname, "judge.ts")));
  await writeFile(join(folder, "run.js"), RUN);
  return { folder, library, remove: () => rm(folder, { recursive: true }) };
}

/** A module without its types. */
async function plain(file: string): Promise<string> {
  const build = await rolldown({ input: file, platform: "neutral", external: (id) => id !== file });
  const { output } = await build.generate({ format: "esm" });
  await build.close();
  return output[0].code.replaceAll(/(from "\.\/[\w-]+)\.ts"/g, '$1.js"');
}

/** Reads `asked.json` and `recorded.json`, and prints what comes of them. */
const RUN = `
import { readFileSync } from "node:fs";
import * as library from "@contrast-mesh/contrast/verifier";
import { judge } from "./judge.js";
import { ask } from "./questions.js";

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));
const outcome = await ask(library, read("asked.json"));
console.log(JSON.stringify({ outcome, judged: await judge(read("recorded.json")) }));
`;

/** The code blocks of a document, in order. */
export async function codeOf(document: string): Promise<readonly string[]> {
  const text = await readFile(join(root, document), "utf8");
  return Array.from(text.matchAll(/^```js\n(.*?)^```$/gms), ([, code = ""]) => code);
}
