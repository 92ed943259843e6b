import { generateKeyPairSync, sign, verify } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Curve } from "../crypto/primitives.ts";
import { CURVE_BYTES } from "../crypto/shapes.ts";
import { encodeDer, encodeSequence } from "./der-writer.ts";
import { TAG } from "./der.ts";
import { ecdsaSignatureOfDer } from "./ecdsa-signature.ts";

const CURVES: readonly (readonly [Curve, string])[] = [
  ["P-256", "prime256v1"],
  ["P-384", "secp384r1"],
  ["P-521", "secp521r1"],
];
const DATA = Buffer.from("data");

test.each(CURVES)("a signature of %s is the same in both forms", (curve, namedCurve) => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve });
  for (let round = 0; round < 50; round++) {
    const signature = ecdsaSignatureOfDer(curve, sign("sha256", DATA, privateKey));
    expect(signature).toHaveLength(2 * CURVE_BYTES[curve]);
    expect(verify("sha256", DATA, { key: publicKey, dsaEncoding: "ieee-p1363" }, signature ?? Buffer.of())).toBe(true);
  }
});

test.each(CURVES)(
  "whatever bit of a signature of %s is changed, OpenSSL says the same of both forms",
  (curve, name) => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: name });
    const der = sign("sha256", DATA, privateKey);
    // Another one in every byte.
    for (let bit = 0; bit < 8 * der.length; bit += 9) {
      const changed = Buffer.from(der);
      changed.writeUInt8(changed.readUInt8(bit >>> 3) ^ (1 << (bit & 7)), bit >>> 3);
      const signature = ecdsaSignatureOfDer(curve, changed);
      const isGood =
        signature !== undefined && verify("sha256", DATA, { key: publicKey, dsaEncoding: "ieee-p1363" }, signature);
      expect(isGood).toBe(verify("sha256", DATA, publicKey, changed));
    }
  },
);

test("what is no DER of two numbers in their shortest form is no signature", () => {
  const number = (...bytes: number[]): Uint8Array => encodeDer(TAG.integer, Buffer.from(bytes));
  const one = number(1);
  const wrong = {
    nothing: Buffer.of(),
    "one number": encodeSequence(one),
    "three numbers": encodeSequence(one, one, one),
    "bytes behind it": Buffer.concat([encodeSequence(one, one), Buffer.of(0)]),
    "a negative number": encodeSequence(number(0x80), one),
    "a number with zeros before it": encodeSequence(number(0, 1), one),
    "no number": encodeSequence(number(), one),
    "a number that is too long": encodeSequence(one, number(1, ...new Uint8Array(32))),
    "a length in more bytes than it needs": Buffer.from("308106020101020101", "hex"),
  };
  for (const [what, der] of Object.entries(wrong)) expect(ecdsaSignatureOfDer("P-256", der), what).toBeUndefined();
  const signature = ecdsaSignatureOfDer("P-256", encodeSequence(number(0, 0xff), one));
  expect(signature).toEqual(new Uint8Array(64).with(31, 0xff).with(63, 1));
});

test("no bytes make it throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const signature = ecdsaSignatureOfDer("P-256", bytes);
      expect(signature?.length ?? 64).toBe(64);
    }),
  );
});
