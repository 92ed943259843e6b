import { createECDH, generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MalformedBytes } from "../bytes/cursor.ts";
import { fromHex } from "../bytes/hex.ts";
import type { Curve } from "../crypto/primitives.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence } from "./der-writer.ts";
import { TAG } from "./der.ts";
import { spki } from "./keys.ts";
import { encodeEcSpki, readSpki } from "./spki.ts";

const CURVES: readonly (readonly [Curve, string])[] = [
  ["P-256", "prime256v1"],
  ["P-384", "secp384r1"],
  ["P-521", "secp521r1"],
];
const RSA = encodeSequence(encodeOid("1.2.840.113549.1.1.1"), encodeDer(TAG.null));

test.each(CURVES)("a key of %s is its curve and its point", (curve, name) => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: name });
  const info = readSpki(spki(publicKey));
  expect(info).toMatchObject({ kind: "ec", curve });
  if (info.kind === "ec") expect(encodeEcSpki(info)).toEqual(spki(publicKey));
});

test.each(CURVES)("a point of %s is read in every form", (curve, name) => {
  const key = createECDH(name);
  key.generateKeys();
  for (const form of ["compressed", "uncompressed", "hybrid"] as const) {
    const point = key.getPublicKey(null, form);
    expect(readSpki(encodeEcSpki({ curve, point }))).toEqual({ kind: "ec", curve, point });
  }
});

test.each([1024, 1025, 2048])("an RSA key of %d bits is its length and its exponent", (modulusLength) => {
  for (const publicExponent of [3, 65_537]) {
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength, publicExponent });
    expect(readSpki(spki(publicKey))).toEqual({ kind: "rsa", bits: modulusLength, exponent: BigInt(publicExponent) });
  }
});

describe("refused is", () => {
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey;
  const rsaKey = (modulus: Uint8Array, exponent: Uint8Array): Uint8Array =>
    encodeSequence(RSA, encodeBitString(encodeSequence(modulus, exponent)));
  const three = encodeInteger(3);

  test.each([
    ["a key of another algorithm", spki(generateKeyPairSync("ed25519").publicKey), "algorithm"],
    ["a key of RSASSA-PSS alone", spki(generateKeyPairSync("rsa-pss", { modulusLength: 1024 }).publicKey), "algorithm"],
    ["a curve that is not used", spki(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey), "namedCurve"],
    [
      "a curve of one's own",
      spki(generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" }).publicKey),
      "namedCurve",
    ],
    ["bytes behind it", Buffer.concat([spki(ec), Buffer.of(0)]), "subjectPublicKeyInfo"],
    ["the point at infinity", encodeEcSpki({ curve: "P-256", point: Uint8Array.of(0) }), "subjectPublicKey"],
    ["a point of another curve", encodeEcSpki({ curve: "P-384", point: spki(ec).subarray(-65) }), "subjectPublicKey"],
    [
      "a point that is cut off",
      encodeEcSpki({ curve: "P-256", point: spki(ec).subarray(-65, -1) }),
      "subjectPublicKey",
    ],
    ["RSA with other parameters", rsaWith(encodeDer(TAG.null, Buffer.of(0))), "parameters"],
    ["RSA without parameters", rsaWith(), "parameters"],
    ["a negative modulus", rsaKey(encodeDer(TAG.integer, Buffer.of(0x80)), three), "modulus"],
    ["an exponent with zeros before it", rsaKey(three, encodeDer(TAG.integer, Buffer.of(0, 3))), "publicExponent"],
    ["a third number", encodeSequence(RSA, encodeBitString(encodeSequence(three, three, three))), "RSAPublicKey"],
  ])("%s", (_what, bytes, field) => {
    expect(() => readSpki(bytes)).toThrow(expect.objectContaining({ name: "MalformedBytes", field }));
  });

  function rsaWith(...parameters: readonly Uint8Array[]): Uint8Array {
    const algorithm = encodeSequence(encodeOid("1.2.840.113549.1.1.1"), ...parameters);
    return encodeSequence(algorithm, encodeBitString(encodeSequence(three, three)));
  }
});

test("odd numbers are said as they are", () => {
  const key = (modulus: string, exponent: string): unknown =>
    readSpki(
      encodeSequence(
        RSA,
        encodeBitString(
          encodeSequence(...[modulus, exponent].map((hex) => encodeDer(TAG.integer, fromHex(hex) ?? new Uint8Array()))),
        ),
      ),
    );
  expect(key("00", "00")).toEqual({ kind: "rsa", bits: 0, exponent: 0n });
  expect(key("01", "02")).toEqual({ kind: "rsa", bits: 1, exponent: 2n });
  expect(key("0080", "010000000000000001")).toEqual({ kind: "rsa", bits: 8, exponent: 2n ** 64n + 1n });
});

test("an offset is that of the structure around it", () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const infinity = Buffer.from(spki(publicKey));
  infinity.writeUInt8(0, infinity.length - 65);
  expect(() => readSpki(infinity, 1000)).toThrow(expect.objectContaining({ offset: 1000 + infinity.length - 65 }));
});

test("no bytes make it throw anything else", () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const good = spki(publicKey);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 3 }), (changes) => {
      const changed = Buffer.from(good);
      for (const [at, byte] of changes) changed.writeUInt8(byte, at);
      try {
        readSpki(changed);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedBytes);
      }
    }),
  );
});
