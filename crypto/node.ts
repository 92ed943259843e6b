import { constants, createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import type { Curve, KeyType, Primitives } from "./primitives.ts";

/** The primitives of primitives.ts on node:crypto, which answers at once. */

export const digest: Primitives["digest"] = (hash, ...parts) => {
  const state = createHash(hash);
  for (const part of parts) state.update(part);
  // A copy: a Buffer is a view of memory that others have parts of.
  return new Uint8Array(state.digest());
};

export const isPublicKey: Primitives["isPublicKey"] = (type, spki) => keyOf(type, spki) !== undefined;

export const verifyEcdsa: Primitives["verifyEcdsa"] = (curve, hash, spki, data, signature) => {
  const key = keyOf({ kind: "ecdsa", curve }, spki);
  return key !== undefined && verify(hash, data, { key, dsaEncoding: "ieee-p1363" }, signature);
};

export const verifyPss: Primitives["verifyPss"] = (hash, saltLength, spki, data, signature) => {
  const key = keyOf({ kind: "rsa" }, spki);
  // An exact length: without it any salt is accepted. MGF1 takes the digest of the signature.
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return key !== undefined && verify(hash, data, { key, padding, saltLength }, signature);
};

export const settle: Primitives["settle"] = async (decide) => decide();

/** OpenSSL's names. */
const CURVES: Readonly<Record<string, Curve>> = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" };

/** Parsing a key costs as much as using it. Who verifies often has the same bytes in the same array. */
const known = new WeakMap<Uint8Array, { readonly key: KeyObject | undefined }>();

function keyOf(type: KeyType, spki: Uint8Array): KeyObject | undefined {
  const before = known.get(spki);
  const key = before === undefined ? parse(spki) : before.key;
  if (before === undefined) known.set(spki, { key });
  if (key === undefined) return undefined;
  const { asymmetricKeyType, asymmetricKeyDetails } = key;
  if (type.kind === "rsa") return asymmetricKeyType === "rsa" ? key : undefined;
  const curve = asymmetricKeyType === "ec" ? CURVES[asymmetricKeyDetails?.namedCurve ?? ""] : undefined;
  return curve === type.curve ? key : undefined;
}

function parse(spki: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

({ digest, isPublicKey, verifyEcdsa, verifyPss, settle }) satisfies Primitives;
