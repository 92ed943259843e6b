import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { VERSION } from "../runtime/version.ts";

/** What the folders promise, read from the sources. */

const root = join(import.meta.dirname, "..");

/** A folder may import from those before it in this list, and from itself; the last ones not from each other. */
const LAYERS = [
  ["crypto"],
  ["bytes"],
  ["runtime"],
  ["netfilter"],
  ["pki"],
  ["measurement"],
  ["mesh-rules"],
  ["api"],
  ["attestation"],
  ["manifest"],
  ["verifier"],
  ["secret-files"],
  ["channel"],
  ["registry"],
  ["kubernetes"],
  ["store"],
  ["policy"],
  ["report"],
  ["initializer", "mesh-proxy", "coordinator", "cli", "node-installer", "page"],
  ["demo", "images"],
  ["release"],
];

/** Where time, randomness and the environment may come from: the entry files, which pass them on, and those of the package. */
const ENTRIES = /(^|\/)(program|main)\.ts$|^demo\/|^verifier\/verifier\.ts$/;

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

/** Whose files run in browsers as well. The gzip of an annotation is for those who write or read files of Kubernetes. */
const EVERYWHERE = "{manifest,report}/**/*.ts";
const NODE_ALONE = ["manifest/initdata-annotation.ts"];

test("what browsers run takes nothing of Node's", () => {
  const files = sources(EVERYWHERE);
  expect(files.length).toBeGreaterThan(60);
  const wrong = files.filter(({ text }) => /"node:|\bBuffer\b|\bprocess\./.test(text)).map(({ file }) => file);
  expect(wrong).toEqual(NODE_ALONE);
});

test("only tests take what test/ and the kits for tests hold", () => {
  const kits = new Set(globSync("*/**/test-*.ts", { cwd: root, exclude: ["node_modules/**", "dist/**"] }));
  const wrong: string[] = [];
  for (const pattern of [program, "launch/**/*.ts", "{bench,fuzz}/**/*.ts"]) {
    const mayUseKits = pattern.includes("bench");
    for (const { file, text } of sources(pattern)) {
      const targets = imports(text).map((target) => join(dirname(file), target));
      const refused = targets.filter((target) => target.startsWith("test/") || (kits.has(target) && !mayUseKits));
      wrong.push(...refused.map((target) => `${file} imports ${target}`));
    }
  }
  expect(wrong).toEqual([]);
});

test("the tests of demo, bench and fuzz do not import from test/ either", () => {
  const files = globSync("{demo,bench,fuzz}/**/*.test.ts", { cwd: root });
  expect(files.length).toBeGreaterThan(5);
  const wrong = files.filter((file) =>
    imports(readFileSync(join(root, file), "utf8")).some((target) => join(dirname(file), target).startsWith("test/")),
  );
  expect(wrong).toEqual([]);
});

test("every folder of the programs has a layer", () => {
  const folders = new Set(sources("*/**/*.ts").map(({ file }) => file.split("/")[0]));
  for (const folder of [...LAYERS.flat(), "launch", "test", "bench", "fuzz", "cluster"]) folders.delete(folder);
  expect([...folders]).toEqual([]);
});

test("every test file that the configuration of the tests names is there", () => {
  const text = readFileSync(join(root, "vitest.config.ts"), "utf8");
  const names = [...text.matchAll(/^ {2}"([^"]+\.test\.ts)",$/gm)].map((match) => match[1] ?? "");
  expect(names.length).toBeGreaterThan(15);
  expect(names.filter((name) => globSync(name, { cwd: root }).length === 0)).toEqual([]);
});

test("the version is that of the package", () => {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  expect(VERSION).toBe(manifest.version);
});

test("the lock file names no address", () => {
  expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain(`"resolved"`);
});

test("files that the documents name are there", () => {
  const documents = globSync(["*.md", "docs/**/*.md"], { cwd: root, exclude: ["CHANGELOG.md"] });
  const folders = new Set(globSync("*/", { cwd: root }));
  const missing = documents.flatMap((document) => {
    const text = readFileSync(join(root, document), "utf8");
    const paths = Array.from(text.matchAll(/`([\w.-]+)\/([\w./-]+\.(?:ts|md|yml|proto|json|mjs|sh))`/g));
    return paths
      .filter(([, folder = ""]) => folders.has(folder))
      .map(([, folder = "", path = ""]) => `${folder}/${path}`)
      .filter((path) => !existsSync(join(root, path)))
      .map((path) => `${document}: ${path}`);
  });
  expect(missing).toEqual([]);
});

test("each test file has loopback addresses of its own, for they run beside each other", () => {
  const files = globSync("**/*.test.ts", { cwd: root, exclude: ["node_modules/**", "dist/**"] });
  const users = new Map<string, Set<string>>();
  for (const file of files) {
    for (const [address] of readFileSync(join(root, file), "utf8").matchAll(/\b127(\.\d{1,3}){3}\b/g)) {
      users.set(address, (users.get(address) ?? new Set()).add(file));
    }
  }
  // Those are everybody's: localhost in its forms, and the mesh proxy's, which nobody listens on in these files.
  const isShared = (address: string): boolean => /^127\.(0\.0|137\.\d+)\.\d+$/.test(address);
  const twice = [...users].filter(([address, of]) => of.size > 1 && !isShared(address));
  expect(twice.map(([address, of]) => `${address}: ${[...of].join(", ")}`)).toEqual([]);
});
