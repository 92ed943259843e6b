import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { NODE_INTEGRITY, NODE_VERSION } from "./node-release.ts";
import { unpackPackage } from "./npm-package.ts";
import { run } from "./run.ts";

const folder = mkdtempSync(join(tmpdir(), "contrast-npm-package-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const source = join(folder, "source");
mkdirSync(source);
writeFileSync(join(source, "package.json"), '{ "name": "pinned", "version": "1.0.0" }');

/** A folder takes the registry's place: npm packs it in the same way, without a network. */
const pinned = (integrity: string) => ({ name: "pinned", version: `file:${source}`, integrity });

test("a package that is not the pinned one is refused, and does not stay in the cache", async () => {
  const cache = join(folder, "refused");
  await expect(unpackPackage(pinned("sha512-AAAA"), cache, join(folder, "out"), {})).rejects.toMatchObject({
    code: "download_failed",
    got: expect.stringMatching(/^sha512-.{86}==$/) as string,
    want: "sha512-AAAA",
  });
  expect(readdirSync(cache)).toEqual([]);
});

test("a package that npm does not have is refused by its name", async () => {
  const lost = { name: "pinned", version: `file:${join(folder, "nowhere")}`, integrity: "sha512-AAAA" };
  await expect(unpackPackage(lost, join(folder, "lost"), join(folder, "out"), {})).rejects.toMatchObject({
    code: "download_failed",
    where: expect.stringContaining("pinned@file:") as string,
  });
});

test("the pinned package is unpacked from the cache, without npm", async () => {
  const cache = join(folder, "cache");
  mkdirSync(cache);
  await run("npm", ["pack", source, "--pack-destination", cache]);
  const bytes = readFileSync(join(cache, "pinned-1.0.0.tgz"));
  const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  const unpacked = await unpackPackage({ name: "pinned", version: "1.0.0", integrity }, cache, join(folder, "in"), {});
  expect(JSON.parse(readFileSync(join(unpacked, "package.json"), "utf8"))).toEqual({
    name: "pinned",
    version: "1.0.0",
  });
});

test("the images have the Node that the tests run on", () => {
  const lock = JSON.parse(readFileSync(join(import.meta.dirname, "..", "package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; integrity: string }>;
  };
  expect(NODE_VERSION).toBe(lock.packages["node_modules/node"]?.version);
  expect(`v${NODE_VERSION}`).toBe(process.version);
  for (const integrity of Object.values(NODE_INTEGRITY)) expect(integrity).toMatch(/^sha512-.{86}==$/);
});
