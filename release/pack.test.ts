import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { pack } from "./pack.ts";

/** Small packages, packed for real and looked at in their tarballs. */
async function packed(manifest: object, files: Readonly<Record<string, string>>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "pack-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const all = { name: "@example/packed", version: "1.0.0", license: "Apache-2.0", type: "module", ...manifest };
  for (const [name, text] of Object.entries({ "package.json": JSON.stringify(all), ...files })) {
    mkdirSync(join(folder, "package", dirname(name)), { recursive: true });
    writeFileSync(join(folder, "package", name), text);
  }
  return pack(join(folder, "package"), join(folder, "out"));
}

const ENTRY = { "./entry": { types: "./entry.d.ts", default: "./entry.js" } };
const MODULE = { "entry.js": "export const answer = 42;\n", "entry.d.ts": "export declare const answer: number;\n" };

test("modules with their types pass, and so does what has no exports", async () => {
  expect(await packed({ exports: ENTRY }, MODULE)).toBe("example-packed-1.0.0.tgz");
  expect(await packed({ type: "commonjs", main: "engine.node" }, { "engine.node": "" })).toBe(
    "example-packed-1.0.0.tgz",
  );
});

test.for([
  ["a file that is not there", { exports: { ...ENTRY, "./other": "./other.js" } }, MODULE, /other\.js/],
  ["a file that is not packed", { exports: ENTRY, files: ["entry.d.ts"] }, MODULE, /entry\.js/],
  ["no types at all", { exports: { "./entry": "./entry.js" } }, { "entry.js": MODULE["entry.js"] }, /no types/],
  [
    "types that are behind what they are for",
    { exports: { "./entry": { default: "./entry.js", types: "./types.d.ts" } } },
    { "entry.js": MODULE["entry.js"], "types.d.ts": MODULE["entry.d.ts"] },
    /types/,
  ],
  [
    "types of CommonJS for a module",
    { exports: { "./entry": { types: "./entry.d.cts", default: "./entry.js" } } },
    { "entry.js": MODULE["entry.js"], "entry.d.cts": MODULE["entry.d.ts"] },
    /\.\/entry|CJS/,
  ],
  [
    "types that import what is not packed",
    { exports: ENTRY },
    { ...MODULE, "entry.d.ts": 'export type { Answer } from "./answer.js";\n' },
    /Internal resolution error/i,
  ],
] as const)("refused: %s", async ([, manifest, files, said]) => {
  await expect(packed(manifest, files)).rejects.toMatchObject({
    code: "faulty_package",
    got: expect.stringMatching(said) as string,
  });
});
