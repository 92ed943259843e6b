import fc from "fast-check";
import { expect, test } from "vitest";
import { compare, concat, fromBase64, fromUtf8, isEqual, toBase64, toHex, toLatin1, toUtf8 } from "./encode.ts";

const bytes = fc.uint8Array({ maxLength: 300 });

test("bytes become the text that Node makes of them", () => {
  fc.assert(
    fc.property(bytes, (any) => {
      const buffer = Buffer.from(any);
      expect(toHex(any)).toBe(buffer.toString("hex"));
      expect(toLatin1(any)).toBe(buffer.toString("latin1"));
      expect(toBase64(any)).toBe(buffer.toString("base64"));
      expect(toUtf8(any)).toBe(buffer.toString("utf8"));
      expect(fromBase64(toBase64(any))).toEqual(any);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      expect(toUtf8(fromUtf8(text))).toBe(text);
    }),
  );
  expect(toUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe("\ufeffa");
});

test("base64 has one form", () => {
  for (const text of ["A", "AA", "AAA", "AB==", "AAB=", "A===", "====", "AA= =", "AA==\n", "AA-_", "AAAA===="]) {
    expect(fromBase64(text), text).toBeUndefined();
  }
  expect(fromBase64("")).toEqual(new Uint8Array());
});

test("bytes are compared and joined as Node does", () => {
  fc.assert(
    fc.property(bytes, bytes, (one, other) => {
      expect(Math.sign(compare(one, other))).toBe(Buffer.compare(one, other));
      expect(isEqual(one, other)).toBe(Buffer.from(one).equals(other));
      expect(isEqual(one, one.slice())).toBe(true);
      expect(concat(one, other)).toEqual(new Uint8Array(Buffer.concat([one, other])));
    }),
  );
});
