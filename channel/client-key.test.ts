import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { expect, test } from "vitest";
import { isEqual } from "../bytes/encode.ts";
import { encodeBitString, encodeDer, encodeOid, encodeSequence } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { type KeyPair, spki } from "../pki/keys.ts";
import { MAX_PUBLIC_KEY, proveClientKey, verifyClientKey } from "./client-key.ts";

const exporter = randomBytes(64);
const KINDS: Readonly<Record<string, KeyPair>> = {
  "P-256": generateKeyPairSync("ec", { namedCurve: "P-256" }),
  "P-384": generateKeyPairSync("ec", { namedCurve: "P-384" }),
  "P-521": generateKeyPairSync("ec", { namedCurve: "P-521" }),
  "RSA-2048": generateKeyPairSync("rsa", { modulusLength: 2048 }),
  "RSA-3072 with the exponent 3": generateKeyPairSync("rsa", { modulusLength: 3072, publicExponent: 3 }),
};
const names = Object.keys(KINDS);

function kind(name: string): KeyPair {
  const keys = KINDS[name];
  if (keys === undefined) throw new Error(name);
  return keys;
}

test.each(names)("a client proves a key of %s, for one connection and for no other", (name) => {
  const proof = proveClientKey(kind(name), exporter);
  const verified = verifyClientKey(proof, exporter);
  expect(isEqual(spki(verified), spki(kind(name).publicKey))).toBe(true);
  expect(verified.export({ type: "spki", format: "der" }).equals(spki(verified))).toBe(true);
  expect(() => verifyClientKey(proof, randomBytes(64))).toThrow(expect.objectContaining({ code: "client_key" }));
});

test.each(names)("a proof of %s with any bit of key or signature changed is refused", (name) => {
  const { publicKey, signature } = proveClientKey(kind(name), exporter);
  for (const [changed, other] of [
    [publicKey, signature],
    [signature, publicKey],
  ] as const) {
    // All of a key's frame, and of the rest every seventh bit.
    for (let bit = 0; bit < changed.length * 8; bit += bit < 256 ? 1 : 7) {
      const bytes = Buffer.from(changed);
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const proof =
        changed === publicKey ? { publicKey: bytes, signature: other } : { publicKey: other, signature: bytes };
      expect(() => verifyClientKey(proof, exporter), `bit ${bit}`).toThrow(
        expect.objectContaining({ code: "client_key" }),
      );
    }
  }
});

test("a signature by the same key for another purpose is none", () => {
  const keys = kind("P-256");
  const publicKey = spki(keys.publicKey);
  const signature = sign("sha256", exporter, keys.privateKey);
  expect(() => verifyClientKey({ publicKey, signature }, exporter)).toThrow(
    expect.objectContaining({ code: "client_key", got: "a signature that is not by this key over this connection" }),
  );
});

function rsa(modulusBytes: number, exponent: Uint8Array, modulus = Buffer.alloc(modulusBytes, 0xff)): Uint8Array {
  const integer = (bytes: Uint8Array): Uint8Array =>
    encodeDer(TAG.integer, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
  const algorithm = encodeSequence(encodeOid("1.2.840.113549.1.1.1"), encodeDer(TAG.null));
  return encodeSequence(algorithm, encodeBitString(encodeSequence(integer(modulus), integer(exponent))));
}

function ec(curve: string, point: Uint8Array): Uint8Array {
  return encodeSequence(encodeSequence(encodeOid("1.2.840.10045.2.1"), encodeOid(curve)), encodeBitString(point));
}

const P256 = "1.2.840.10045.3.1.7";
const F4 = Buffer.of(1, 0, 1);
const nested = (depth: number): Uint8Array => (depth === 0 ? Buffer.alloc(0) : encodeSequence(nested(depth - 1)));

test.each([
  ["none", Buffer.alloc(0)],
  ["RSA of 1024 bits", rsa(128, F4)],
  ["RSA of 8200 bits", rsa(1025, F4)],
  ["RSA with an exponent as long as its modulus", rsa(384, Buffer.alloc(384, 0xff))],
  ["RSA with an exponent of 40 bits", rsa(256, Buffer.of(1, 0, 0, 0, 1))],
  ["RSA with an even exponent", rsa(256, Buffer.of(2))],
  ["RSA with the exponent 1", rsa(256, Buffer.of(1))],
  ["RSA-PSS", spki(generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).publicKey)],
  ["Ed25519", spki(generateKeyPairSync("ed25519").publicKey)],
  ["X25519", spki(generateKeyPairSync("x25519").publicKey)],
  ["DSA", spki(generateKeyPairSync("dsa", { modulusLength: 2048, divisorLength: 256 }).publicKey)],
  ["another curve", spki(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey)],
  [
    "a curve by its parameters",
    spki(generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" }).publicKey),
  ],
  ["a compressed point", ec(P256, Buffer.concat([Buffer.of(2), Buffer.alloc(32, 1)]))],
  ["the point at infinity", ec(P256, Buffer.of(0))],
  ["a point that is not on the curve", ec(P256, Buffer.concat([Buffer.of(4), Buffer.alloc(64, 1)]))],
  ["sequences in sequences", nested(250)],
  ["a byte behind it", Buffer.concat([spki(kind("P-256").publicKey), Buffer.of(0)])],
  ["more than any has", Buffer.alloc(MAX_PUBLIC_KEY + 1, 0x30)],
])("a key that is %s is refused in no time", (_name, publicKey) => {
  const begin = process.threadCpuUsage();
  expect(() => verifyClientKey({ publicKey, signature: Buffer.alloc(256) }, exporter)).toThrow(
    expect.objectContaining({ code: "client_key" }),
  );
  expect(process.threadCpuUsage(begin).user / 1000).toBeLessThan(50);
});

test("a signature that is longer than its key makes them is refused", () => {
  const { publicKey } = proveClientKey(kind("P-256"), exporter);
  expect(() => verifyClientKey({ publicKey, signature: Buffer.alloc(4096, 0x30) }, exporter)).toThrow(
    expect.objectContaining({ code: "client_key", got: "a signature of 4096 bytes" }),
  );
});

test("a client does not even try with a key that is not taken", () => {
  const keys = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  expect(() => proveClientKey(keys, exporter)).toThrow(expect.objectContaining({ code: "client_key" }));
});
