import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { decodeRecord, encodeRecord } from "./record.ts";

const payload = Buffer.from("line one\ncontrast policy 1 \n");
const file = encodeRecord("policies", payload);
const read = (bytes: Uint8Array): Buffer => decodeRecord("policies", Buffer.from(bytes), "policies/x");

/** Every code that is allowed for damage; the record is always named. */
const refusal = expect.objectContaining({
  code: expect.stringMatching(/^(damaged_state|unknown_state_version)$/) as string,
  where: "policies/x",
});

test("a record is its header, as documented, and its payload as it is", () => {
  const digest = createHash("sha256").update(payload).digest("hex");
  expect(file.toString()).toBe(`contrast policy 1 sha256:${digest}\n${payload.toString()}`);
  expect(read(file)).toEqual(payload);
  expect(read(encodeRecord("policies", Buffer.alloc(0)))).toEqual(Buffer.alloc(0));
});

test("any changed bit is refused", () => {
  for (let bit = 0; bit < file.length * 8; bit++) {
    const changed = Buffer.from(file);
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    expect(() => read(changed), `bit ${bit}`).toThrow(refusal);
  }
});

test("a record that was cut at any length, or goes on, is refused", () => {
  for (let length = 0; length < file.length; length++) expect(() => read(file.subarray(0, length))).toThrow(refusal);
  expect(() => read(Buffer.concat([file, Buffer.of(0)]))).toThrow(refusal);
  expect(() => read(Buffer.concat([file, file]))).toThrow(refusal);
});

test.each([
  ["another kind", "policy", "manifest"],
  ["a version with a leading zero", " 1 ", " 01 "],
  ["a second space", " 1 ", " 1  "],
  ["upper-case digits", /[0-9a-f]{64}/, (digest: string) => digest.toUpperCase()],
  ["a carriage return", "\n", "\r\n"],
  ["no header", /^.*\n/, ""],
] as const)("%s is damage", (_name, part, other) => {
  expect(() => read(Buffer.from(file.toString().replace(part, other as string)))).toThrow(
    expect.objectContaining({ code: "damaged_state", where: "policies/x" }),
  );
});

test.each(["2", "10", "999999999"])("format version %s is refused by name, whatever follows it", (version) => {
  const later = Buffer.from(`contrast policy ${version} blake3:00 of some form\nand content`);
  expect(() => read(later)).toThrow(
    expect.objectContaining({
      code: "unknown_state_version",
      where: "policies/x",
      got: `version ${version}`,
      want: "version 1",
      hint: expect.stringContaining("the Coordinator that wrote it"),
    }),
  );
});
