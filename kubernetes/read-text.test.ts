import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readText } from "./read-text.ts";
import { refusal, testFiles } from "./test-files.ts";

test.for([
  ["UTF-16", Buffer.from("\uFEFFa: 1\n", "utf16le"), "1:1", "UTF-16"],
  ["UTF-16 without a mark", Buffer.from("a: 1\n", "utf16le"), "1:2", "the control character U+0000"],
  ["Latin-1", Buffer.from("a: 1\nb: caf\u00e9 x\n", "latin1"), "2:7", "bytes that are not UTF-8, from offset 11"],
  ["half a character at the end", Buffer.from("a: \u00e9").subarray(0, -1), "1:4", "from offset 3"],
  ["a NUL", Buffer.from("a: 1\nb: \0\n"), "2:4", "the control character U+0000"],
  ["an escape of a terminal", Buffer.from("a: \u001b[31m\n"), "1:4", "the control character U+001B"],
  ["a compressed file", Buffer.from([0x1f, 0x8b, 8, 0]), "1:2", "bytes that are not UTF-8"],
] as const)("says where %s is", async ([, bytes, where, got]) => {
  const { dir } = await testFiles({});
  const path = join(dir, "x.yml");
  await writeFile(path, bytes);
  const error = await refusal(readText(path));
  expect(error).toMatchObject({ code: "malformed_yaml", where: `${path}:${where}` });
  expect(error.got).toContain(got);
});

test("leaves text as it is, with its mark and its line ends", async () => {
  const { dir, write } = await testFiles({});
  const text = "\uFEFFa: caf\u00e9 \u{1f600}\r\n\tb\r\n";
  await write("x.yml", text);
  expect(await readText(join(dir, "x.yml"))).toBe(text);
});

test("reads no file of more than 128 MiB", async () => {
  const { dir, write } = await testFiles({});
  await write("x.yml", "");
  await truncate(join(dir, "x.yml"), 128 * 1024 * 1024 + 1);
  const refused = { code: "unreadable_file", got: "134217729 bytes", want: "at most 134217728 bytes; split it" };
  expect(await refusal(readText(join(dir, "x.yml")))).toMatchObject(refused);
});
