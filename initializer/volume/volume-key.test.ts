import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Secret } from "../../runtime/secret.ts";
import { deriveVolumeKey, readVolumeKeys } from "./volume-key.ts";

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

function published(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), "contrast-volume-key-test-"));
  folders.push(folder);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

const secret = (byte: number): Secret => new Secret(Buffer.alloc(32, byte));
const hex = (byte: number): string => Buffer.alloc(32, byte).toString("hex");

test("the key is HKDF-SHA256 as RFC 5869 writes it, over both names with their lengths", () => {
  const extracted = createHmac("sha256", Buffer.alloc(32)).update(Buffer.alloc(32, 7)).digest();
  const info = Buffer.from("\0\x0fcontrast volume\0\x04data", "latin1");
  let block = Buffer.alloc(0);
  const expanded = [1, 2, 3].map((index) => {
    block = createHmac("sha256", extracted).update(block).update(info).update(Buffer.of(index)).digest();
    return block;
  });
  expect(deriveVolumeKey(secret(7), "data").bytes.reveal()).toEqual(Buffer.concat(expanded));
});

test("another workload and another volume have other keys", () => {
  const keys = [
    deriveVolumeKey(secret(7), "data"),
    deriveVolumeKey(secret(8), "data"),
    deriveVolumeKey(secret(7), "datb"),
    deriveVolumeKey(secret(7), "dat"),
  ];
  expect(new Set(keys.map(({ bytes }) => bytes.reveal().toString("hex"))).size).toBe(4);
});

test("a key is not printed", () => {
  expect(JSON.stringify(deriveVolumeKey(secret(7), "data", 1))).toBe('{"version":1,"bytes":"[secret]"}');
});

test("the secret in force comes first, then those of before rekeys", async () => {
  const folder = published({
    "workload-secret-seed": hex(3),
    "workload-secret-seed.9": hex(1),
    "workload-secret-seed.10": hex(3),
    "workload-secret-seed.2": hex(2),
    "workload-secret-seed.x": "no version",
  });
  const keys = await readVolumeKeys(folder, "data");
  expect(keys.map(({ version }) => version)).toEqual([10, 9, 2]);
  expect(keys[0]?.bytes.reveal()).toEqual(deriveVolumeKey(secret(3), "data").bytes.reveal());
});

test("a Coordinator without versions gives one", async () => {
  const keys = await readVolumeKeys(published({ "workload-secret-seed": hex(3) }), "data");
  expect(keys.map(({ version }) => version)).toEqual([undefined]);
});

test.each([
  ["no secret", {}, "no such file"],
  ["a secret with a line break", { "workload-secret-seed": `${hex(3)}\n` }, "65 characters"],
  ["half a secret", { "workload-secret-seed": hex(3).slice(32) }, "32 characters"],
  ["an empty secret of before", { "workload-secret-seed": hex(3), "workload-secret-seed.1": "" }, "0 characters"],
])("%s is refused, and not shown", async (_, files, got) => {
  await expect(readVolumeKeys(published(files), "data")).rejects.toMatchObject({ code: "volume_secret_missing", got });
});
