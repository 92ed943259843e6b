import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MalformedBytes } from "../bytes/cursor.ts";
import { isEqual, toHex } from "../bytes/encode.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "./der-writer.ts";
import { type DerReader, readDer, TAG } from "./der.ts";

function read<T>(hex: string, parse: (der: DerReader) => T): T {
  return readDer(Buffer.from(hex, "hex"), "test", parse);
}

describe("what is written is read", () => {
  test("integers", () => {
    fc.assert(
      fc.property(
        fc.maxSafeNat().map((value) => value % 2 ** 48),
        (value) => {
          const content = readDer(encodeInteger(value), "test", (der) => der.integer("n"));
          expect(Number(`0x${toHex(content)}`)).toBe(value);
        },
      ),
    );
  });

  test("object identifiers", () => {
    const arcs = fc.tuple(fc.nat(2), fc.nat(39), fc.array(fc.nat(2 ** 31 - 1), { maxLength: 8 }));
    fc.assert(
      fc.property(arcs, ([root, second, others]) => {
        const dotted = [root, second, ...others].join(".");
        expect(readDer(encodeOid(dotted), "test", (der) => der.oid("id"))).toBe(dotted);
      }),
    );
  });

  test("times to the second, UTCTime before 2050 and GeneralizedTime after", () => {
    const range = { min: new Date("1950-01-01T00:00:00Z"), max: new Date("9999-12-31T23:59:59Z"), noInvalidDate: true };
    fc.assert(
      fc.property(fc.date(range), (time) => {
        time.setUTCMilliseconds(0);
        expect(readDer(encodeTime(time), "test", (der) => der.time("time"))).toEqual(time);
      }),
    );
  });

  test("contents of any length", () => {
    for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
      const content = Buffer.alloc(length, 0x5a);
      const encoded = encodeDer(TAG.octetString, content);
      expect(
        isEqual(
          readDer(encoded, "test", (der) => der.octetString("bytes")),
          content,
        ),
      ).toBe(true);
    }
  });

  test("sequences of elements, with the encoding that was signed", () => {
    const encoded = encodeSequence(encodeInteger(1), encodeBitString(Buffer.of(7)));
    const [one, bits] = readDer(Buffer.concat([encoded]), "test", (der) =>
      der.sequence("pair", (pair) => [pair.element(TAG.integer, "one"), pair.bitString("bits", true)] as const),
    );
    expect([toHex(one.encoding), toHex(bits)]).toEqual(["020101", "07"]);
  });
});

describe("a second encoding of the same value is refused", () => {
  test.each<[string, string, (der: DerReader) => unknown]>([
    ["a byte behind the element", "020100ff", (der) => der.integer("n")],
    [
      "a byte behind what is read inside",
      "3006020100020100",
      (der) => der.sequence("s", (inner) => inner.integer("n")),
    ],
    ["an element that ends too early", "040500", (der) => der.octetString("bytes")],
    ["no element", "", (der) => der.octetString("bytes")],
    ["another tag", "0500", (der) => der.octetString("bytes")],
    ["an indefinite length", "30800000", (der) => der.sequence("s", () => undefined)],
    ["a short length in long form", "04810100", (der) => der.octetString("bytes")],
    ["a padded length", `04820080${"00".repeat(128)}`, (der) => der.octetString("bytes")],
    ["a length of more than three bytes", "048400000001ff", (der) => der.octetString("bytes")],
    ["an integer without content", "0200", (der) => der.integer("n")],
    ["a padded integer", "02020001", (der) => der.integer("n")],
    ["a negative integer", "0201ff", (der) => der.integer("n")],
    ["an integer that is no byte", "02020100", (der) => der.byte("n")],
    ["a boolean of another value", "010101", (der) => der.boolean("b")],
    ["a boolean of two bytes", "0102ffff", (der) => der.boolean("b")],
    ["an enumerated of two bytes", "0a020001", (der) => der.enumerated("e")],
    ["an enumerated of no byte", "0a00", (der) => der.enumerated("e")],
    ["a negative enumerated", "0a0180", (der) => der.enumerated("e")],
    ["an identifier without content", "0600", (der) => der.oid("id")],
    ["an identifier with a padded arc", "060355800a", (der) => der.oid("id")],
    ["an identifier that ends within an arc", "06025581", (der) => der.oid("id")],
    ["an identifier with an arc without end", "06085581ffffffffff7f", (der) => der.oid("id")],
    ["bits without content", "0300", (der) => der.bitString("bits", false)],
    ["unused bits where there are none", "03020180", (der) => der.bitString("bits", true)],
    ["unused bits that are not zero", "03020101", (der) => der.bitString("bits", false)],
    ["more unused bits than a byte has", "03020800", (der) => der.bitString("bits", false)],
    ["unused bits of no byte", "030107", (der) => der.bitString("bits", false)],
    ["a time without seconds", "170b323630313031303030305a", (der) => der.time("t")],
    ["a time with a zone", `1711${Buffer.from("260101000000+0100").toString("hex")}`, (der) => der.time("t")],
    ["a day that does not exist", `170d${Buffer.from("260231000000Z").toString("hex")}`, (der) => der.time("t")],
    ["a time with a fraction", `1811${Buffer.from("20260101000000.5Z").toString("hex")}`, (der) => der.time("t")],
  ])("%s", (_, hex, parse) => {
    expect(() => read(hex, parse)).toThrow(MalformedBytes);
  });
});

test("a fault in a nested element is told by its place in the whole", () => {
  const bytes = encodeSequence(encodeInteger(1), encodeSequence(encodeInteger(2), Buffer.from("0201ff", "hex")));
  const parse = (): unknown =>
    readDer(bytes, "outer", (der) =>
      der.sequence("outer", (outer) => [
        outer.integer("one"),
        outer.sequence("inner", (inner) => [inner.integer("two"), inner.integer("three")]),
      ]),
    );
  const fault = Buffer.from(bytes).indexOf(Buffer.from("0201ff", "hex"));
  expect(fault).toBe(10);
  expect(parse).toThrow(expect.objectContaining({ field: "three", offset: fault }));
});

test("a fault in a part that is read later is told by its place in the whole", () => {
  const whole = encodeSequence(
    encodeInteger(1),
    encodeDer(TAG.octetString, encodeSequence(Buffer.from("0201ff", "hex"))),
  );
  const [value, offset] = readDer(whole, "outer", (der) =>
    der.sequence("outer", (outer) => {
      outer.integer("one");
      const { content } = outer.element(TAG.octetString, "value");
      return [content, outer.offset - content.length];
    }),
  );
  const parse = (): unknown =>
    readDer(value, "value", (der) => der.sequence("s", (inner) => inner.integer("n")), offset);
  expect(parse).toThrow(
    expect.objectContaining({ field: "n", offset: Buffer.from(whole).indexOf(Buffer.from("0201ff", "hex")) }),
  );
});

test("arbitrary bytes are read or refused, never anything else", () => {
  const parse = (der: DerReader): unknown =>
    der.sequence("s", (inner) => [inner.oid("id"), inner.integer("n"), inner.time("t"), inner.bitString("b", false)]);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        readDer(encodeSequence(bytes), "test", parse);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedBytes);
      }
    }),
  );
});
