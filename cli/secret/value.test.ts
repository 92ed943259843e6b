import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { inspect } from "node:util";
import { afterAll, expect, test } from "vitest";
import { readValue } from "./value.ts";

const folder = mkdtempSync(join(tmpdir(), "value-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(bytes: Uint8Array | string): string {
  const path = join(folder, "value");
  writeFileSync(path, bytes);
  return path;
}

const from = (...chunks: readonly Uint8Array[]) => ({ input: () => Readable.from(chunks) });
const nothing = from();

test("a value is what the file has, and its line end too", async () => {
  const value = await readValue(nothing, fileOf("hunter2\n"));
  expect(value.reveal()).toEqual(Buffer.from("hunter2\n"));
  expect(inspect({ value })).not.toContain("hunter2");
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  expect((await readValue(nothing, fileOf(bytes))).reveal()).toEqual(bytes);
});

test("without a file it is what standard input has, in however many pieces", async () => {
  const value = await readValue(from(Buffer.from("hun"), Buffer.from("ter2")), undefined);
  expect(value.reveal().toString()).toBe("hunter2");
});

test.each([1, 64 * 1024])("%d bytes are a value", async (length) => {
  expect((await readValue(nothing, fileOf(Buffer.alloc(length, 7)))).reveal()).toHaveLength(length);
});

test.each([
  ["nothing", 0],
  ["more", 64 * 1024 + 1],
])("%s is refused, from a file and from a pipe", async (got, length) => {
  const refused = expect.objectContaining({ code: "malformed_file", got, want: "1 byte to 64 KiB" });
  await expect(readValue(nothing, fileOf(Buffer.alloc(length, 0x61)))).rejects.toEqual(refused);
  await expect(readValue(from(Buffer.alloc(length, 0x61)), undefined)).rejects.toEqual(refused);
});

test("what never ends is not read to its end", async () => {
  await expect(readValue(nothing, "/dev/zero")).rejects.toThrow(expect.objectContaining({ got: "more" }));
});

test("a pipe by its name is a file", async () => {
  const pipe = join(folder, "pipe");
  spawnSync("mkfifo", [pipe]);
  const [value] = await Promise.all([
    readValue(nothing, pipe),
    import("node:fs/promises").then(({ writeFile }) => writeFile(pipe, "hunter2")),
  ]);
  expect(value.reveal().toString()).toBe("hunter2");
});

test.each([
  ["a folder", folder, "EISDIR"],
  ["no file", join(folder, "none"), "ENOENT"],
  ["a path with a zero byte", "a\0b", "ERR_INVALID_ARG_VALUE"],
])("%s is refused by name", async (_, path, got) => {
  await expect(readValue(nothing, path)).rejects.toEqual(expect.objectContaining({ code: "unreadable_file", got }));
});
