import fc from "fast-check";
import { expect, test } from "vitest";
import { Cursor, MalformedBytes } from "./cursor.ts";
import { fromHex } from "./hex.ts";

test("integers are read in their byte order, one after the other", () => {
  const cursor = new Cursor(Buffer.from("01 0200 03000000 00000004 0500000000000000 aabb".replaceAll(" ", ""), "hex"));
  expect([cursor.u8("a"), cursor.u16le("b"), cursor.u32le("c"), cursor.u32be("d")]).toEqual([1, 2, 3, 4]);
  expect(cursor.u64le("e")).toBe(5n);
  expect(cursor.bytes(2, "f")).toEqual(Buffer.of(0xaa, 0xbb));
  cursor.end("structure");
});

test("what was read is a copy", () => {
  const source = Buffer.of(1, 2);
  const copy = new Cursor(source).bytes(2, "field");
  source.fill(9);
  expect(copy).toEqual(Buffer.of(1, 2));
});

test("a read beyond the end, a byte that is not zero, and bytes left over are refused with field and offset", () => {
  const bytes = Buffer.of(0, 0, 7, 0);
  expect(() => new Cursor(bytes).bytes(5, "f")).toThrow("f at offset 0x0: got 4 bytes, want 5 bytes");
  expect(() => new Cursor(bytes).zeros(4, "reserved")).toThrow("reserved at offset 0x2: got a byte that is not zero");
  expect(() => new Cursor(bytes, 1).end("f")).toThrow("f at offset 0x1: got 3 more bytes, want the end");
});

test("an inner cursor ends where it is told to, and counts from the start of the whole", () => {
  const cursor = new Cursor(Buffer.of(1, 2, 3, 4));
  cursor.u8("a");
  const inner = cursor.inner(2, "b");
  expect([inner.offset, inner.next, cursor.offset]).toEqual([1, 2, 3]);
  expect(inner.bytes(2, "c")).toEqual(Buffer.of(2, 3));
  expect(inner.since(1)).toEqual(Buffer.of(2, 3));
  expect(inner.next).toBeUndefined();
  expect(() => inner.u8("d")).toThrow("d at offset 0x3: got 0 bytes, want 1 bytes");
  expect(() => cursor.inner(2, "e")).toThrow("e at offset 0x3: got 1 bytes, want 2 bytes");
});

test("no input makes it read past the end", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 16 }), fc.array(fc.nat(9)), (bytes, lengths) => {
      const cursor = new Cursor(bytes);
      try {
        for (const length of lengths) expect(cursor.bytes(length, "f")).toHaveLength(length);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedBytes);
      }
      expect(cursor.offset).toBeLessThanOrEqual(bytes.length);
    }),
  );
});

test("hexadecimal text is whole bytes of the wanted length", () => {
  expect(fromHex("00fF")).toEqual(Buffer.of(0, 255));
  expect(fromHex("00ff", 2)).toEqual(Buffer.of(0, 255));
  for (const [text, length] of [
    ["0", undefined],
    ["0g", undefined],
    ["0x00", undefined],
    [" 00", undefined],
    ["00", 2],
  ] as const) {
    expect(fromHex(text, length)).toBeUndefined();
  }
});
