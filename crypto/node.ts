import { constants, createHash, createPublicKey, hash as digestOf, type KeyObject, verify } from "node:crypto";
import type { Curve, KeyType, Primitives } from "./primitives.ts";
import { looksLikeEcKey, looksLikeSignature } from "./shapes.ts";

/** The primitives of primitives.ts on node:crypto, which answers at once. */

export const digest: Primitives["digest"] = (hash, ...parts) => {
  const [first, ...others] = parts;
  // A copy: a Buffer is a view of memory that others have parts of.
  if (first !== undefined && others.length === 0) return new Uint8Array(digestOf(hash, first, "buffer"));
  const state = createHash(hash);
  for (const part of parts) state.update(part);
  return new Uint8Array(state.digest());
};

export const isPublicKey: Primitives["isPublicKey"] = (type, spki) => keyOf(type, spki) !== undefined;

export const verifyEcdsa: Primitives["verifyEcdsa"] = (curve, hash, spki, data, signature) => {
  const key = looksLikeSignature(curve, signature) ? keyOf({ kind: "ecdsa", curve }, spki) : undefined;
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

interface Key {
  readonly key: KeyObject;
  readonly type: Curve | "rsa" | undefined;
}

/** Parsing a key costs as much as using it. Who verifies often has the same bytes in the same array. */
const known = new WeakMap<Uint8Array, Key | "none">();

function keyOf(type: KeyType, spki: Uint8Array): KeyObject | undefined {
  if (type.kind === "ecdsa" && !looksLikeEcKey(type.curve, spki)) return undefined;
  const before = known.get(spki);
  const key = before ?? parse(spki) ?? "none";
  if (before === undefined) known.set(spki, key);
  return key !== "none" && key.type === (type.kind === "rsa" ? "rsa" : type.curve) ? key.key : undefined;
}

function parse(spki: Uint8Array): Key | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    const { asymmetricKeyType, asymmetricKeyDetails } = key;
    if (asymmetricKeyType === "rsa") return { key, type: "rsa" };
    return { key, type: asymmetricKeyType === "ec" ? CURVES[asymmetricKeyDetails?.namedCurve ?? ""] : undefined };
  } catch {
    return undefined;
  }
}

({ digest, isPublicKey, verifyEcdsa, verifyPss, settle }) satisfies Primitives;
