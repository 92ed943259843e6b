import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { globSync } from "node:fs";
import { expect, test } from "vitest";
import { VERSION } from "../runtime/version.ts";

/** What the folders promise, read from the sources. */

const root = join(import.meta.dirname, "..");

/** A folder may import from those before it in this list, and from itself; the last ones not from each other. */
const LAYERS = [
  ["bytes"],
  ["runtime"],
  ["netfilter"],
  ["pki"],
  ["mesh-rules"],
  ["api"],
  ["attestation"],
  ["manifest"],
  ["channel"],
  ["initializer", "mesh-proxy", "coordinator", "cli"],
  ["demo", "images"],
  ["release"],
];

/** Where time, randomness and the environment may come from: the entry files, which pass them on. */
const ENTRIES = /(^|\/)(program|main)\.ts$|^demo\//;

const AMBIENT = /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\b|\bprocess\.env\b|\bprocess\.argv\b|\bperformance\.now\b/;

function sources(pattern: string): { file: string; text: string }[] {
  return globSync(pattern, { cwd: root, exclude: ["node_modules/**", "dist/**"] })
    .filter((file) => !/\.test\.ts$|(^|\/)test-[^/]*\.ts$/.test(file))
    .map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));
}

function imports(text: string): string[] {
  return [...text.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)].map((match) => match[1] ?? "");
}

const rankOf = (folder: string): number => LAYERS.findIndex((layer) => layer.includes(folder));
const program = `{${LAYERS.flat().join(",")}}/**/*.ts`;

test("imports point one way", () => {
  const wrong: string[] = [];
  for (const { file, text } of sources(program)) {
    const folder = file.split("/")[0] ?? "";
    for (const target of imports(text)) {
      const other = relative(root, join(root, dirname(file), target)).split("/")[0] ?? "";
      // The entry files are links into launch/, which starts the programs.
      const isEntry = /^[a-z-]+\/main\.ts$/.test(file);
      if (other !== folder && !isEntry && rankOf(other) >= rankOf(folder)) wrong.push(`${file} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("time, randomness and the environment come in through the entry files", () => {
  const wrong = sources(program).filter(({ file, text }) => !ENTRIES.test(file) && AMBIENT.test(text));
  expect(wrong.map(({ file }) => file)).toEqual([]);
});

test("every folder of the programs has a layer", () => {
  const folders = new Set(sources("*/**/*.ts").map(({ file }) => file.split("/")[0]));
  for (const folder of [...LAYERS.flat(), "launch", "test", "bench", "fuzz"]) folders.delete(folder);
  expect([...folders]).toEqual([]);
});

test("the version is that of the package", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  expect(VERSION).toBe(manifest.version);
});

test("the lock file names no address", () => {
  expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain(`"resolved"`);
});
