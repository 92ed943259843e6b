import { createECDH, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import type { Curve } from "../crypto/primitives.ts";
import { encodeEcSpki } from "../pki/spki.ts";
import { type Change, changeToSign } from "./change.ts";
import { type ChangeFault, type ChangeSignature, faultOfChange } from "./change-signature.ts";

/** Which keys and signatures count: those that counted when OpenSSL judged them whole. */

const CURVES: readonly (readonly [Curve, string])[] = [
  ["P-256", "prime256v1"],
  ["P-384", "secp384r1"],
  ["P-521", "secp521r1"],
];
const FORMS = ["compressed", "uncompressed", "hybrid"] as const;
const CHANGE: Change = { manifest: Buffer.from("{}"), previous: Buffer.alloc(32, 1), meshKey: Buffer.alloc(32, 2) };

/** An owner by their key in each form, and what signs. */
function createOwner(curve: Curve, name: string) {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: name });
  const { d = "" } = privateKey.export({ format: "jwk" });
  const key = createECDH(name);
  key.setPrivateKey(Buffer.from(d, "base64url"));
  const keys = FORMS.map((form) => Buffer.from(encodeEcSpki({ curve, point: key.getPublicKey(null, form) })));
  return { privateKey, keys };
}

function faultOf(signatures: readonly ChangeSignature[], threshold = 1): ChangeFault | undefined {
  const keys = signatures.map(({ publicKey }) => sha256Hex(publicKey));
  return faultOfChange({ keys, threshold }, CHANGE, signatures);
}

const signed = (privateKey: KeyObject, hash = "sha256"): Buffer => sign(hash, changeToSign(CHANGE), privateKey);

test.each(CURVES)("a key of %s counts in every encoding of its point, and all are one owner", (...curve) => {
  const { privateKey, keys } = createOwner(...curve);
  const signatures = keys.map((publicKey) => ({ publicKey, signature: signed(privateKey) }));
  for (const signature of signatures) expect(faultOf([signature])).toBeUndefined();
  expect(faultOf(signatures, 2)).toEqual({ code: "too_few", signed: 1 });
  const other = createOwner(...curve);
  const [publicKey = Buffer.alloc(0)] = other.keys;
  expect(faultOf([...signatures, { publicKey, signature: signed(other.privateKey) }], 2)).toBeUndefined();
});

test.each(CURVES)("what is changed in a key of %s or its signature counts where it did to OpenSSL", (...curve) => {
  const { privateKey, keys } = createOwner(...curve);
  const byte = fc.tuple(fc.nat(200), fc.nat(255));
  fc.assert(
    fc.property(fc.constantFrom(...keys), fc.option(byte), fc.option(byte), (key, inKey, inSignature) => {
      const publicKey = changed(key, inKey);
      const signature = changed(signed(privateKey), inSignature);
      expect(faultOf([{ publicKey, signature }]) === undefined).toBe(isGoodToOpenssl(publicKey, signature));
    }),
    { numRuns: 300 },
  );
});

test("another signature or key is none of an owner's", () => {
  const { privateKey, keys } = createOwner("P-256", "prime256v1");
  const [publicKey = Buffer.alloc(0)] = keys;
  const good = signed(privateKey);
  const ed25519 = generateKeyPairSync("ed25519");
  const k1 = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  const spki = (key: KeyObject): Buffer => key.export({ type: "spki", format: "der" });
  const wrong: readonly (readonly [string, ChangeSignature])[] = [
    ["another hash", { publicKey, signature: signed(privateKey, "sha384") }],
    [
      "r and s without DER",
      { publicKey, signature: sign("sha256", changeToSign(CHANGE), { key: privateKey, dsaEncoding: "ieee-p1363" }) },
    ],
    ["bytes behind it", { publicKey, signature: Buffer.concat([good, Buffer.of(0)]) }],
    ["nothing", { publicKey, signature: Buffer.alloc(0) }],
    ["bytes behind the key", { publicKey: Buffer.concat([publicKey, Buffer.of(0)]), signature: good }],
    [
      "Ed25519",
      { publicKey: spki(ed25519.publicKey), signature: sign(null, changeToSign(CHANGE), ed25519.privateKey) },
    ],
    ["another curve", { publicKey: spki(k1.publicKey), signature: signed(k1.privateKey) }],
  ];
  for (const [what, signature] of wrong) {
    expect(faultOf([signature]), what).toEqual({ code: "bad_signature", key: sha256Hex(signature.publicKey) });
  }
});

/** RFC 5480 forbids it, and `generate` refuses to name such an owner: docs/decisions/0012-signed-history.md. */
test("a key that spells its curve out is none of an owner's", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  expect(faultOf([{ publicKey: spki, signature: signed(privateKey) }])).toMatchObject({ code: "bad_signature" });
});

function changed(bytes: Buffer, change: readonly [number, number] | null): Buffer {
  const copy = Buffer.from(bytes);
  if (change !== null) copy.writeUInt8(change[1], change[0] % copy.length);
  return copy;
}

/** How it was judged before the keys had to be read in browsers as well. */
function isGoodToOpenssl(publicKey: Buffer, signature: Buffer): boolean {
  try {
    const key = createPublicKey({ key: publicKey, type: "spki", format: "der" });
    if (key.asymmetricKeyType !== "ec") return false;
    if (!CURVES.some(([, name]) => name === key.asymmetricKeyDetails?.namedCurve)) return false;
    return verify("sha256", changeToSign(CHANGE), { key, dsaEncoding: "der" }, signature);
  } catch {
    return false;
  }
}
