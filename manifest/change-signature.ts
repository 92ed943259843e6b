import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { verifyEcdsa } from "../crypto/node.ts";
import { uncompressedPoint } from "../pki/ec-point.ts";
import { ecdsaSignatureOfDer } from "../pki/ecdsa-signature.ts";
import { type EcKeyInfo, encodeEcSpki, readSpki } from "../pki/spki.ts";
import { type Change, type ChangeAhead, changeToSign } from "./change.ts";

/** What a workload owner allows by signature: for the Coordinator before a change, and for all who check it later. */
export interface ChangeSignature {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** ECDSA with SHA-256, DER (SEC 1 §C.5). */
  readonly signature: Uint8Array;
}

/** Whose leave a change needs, as the manifest says that is active before it. */
export interface WorkloadOwners {
  /** SHA-256 of their keys, hex. */
  readonly keys: readonly string[];
  /** How many of them have to have signed. */
  readonly threshold: number;
}

/** So many signatures a transition can hold, and so many owners a manifest may ask for. */
export const MOST_SIGNATURES = 16;

/**
 * - `immutable`: the manifest before names no owner
 * - `unsigned`: nobody signed
 * - `not_owner`: a key is no owner's
 * - `bad_signature`: a signature is not over this change, or not of the one kind that counts
 * - `too_few`: every signature is good, and they are of fewer owners than it takes
 */
export type ChangeFault =
  | { readonly code: "immutable" | "unsigned" }
  | { readonly code: "not_owner" | "bad_signature"; readonly key: string }
  | { readonly code: "too_few"; readonly signed: number };

/**
 * Whether enough owners allow a change. Every signature has to be good, not only as many as it takes: what is stored
 * beside good ones must not be anybody's. An owner counts once, however often the owner signed.
 *
 * @returns undefined where they do
 */
export function faultOfChange(
  owners: WorkloadOwners,
  change: Change | ChangeAhead,
  signatures: readonly ChangeSignature[],
): ChangeFault | undefined {
  if (owners.keys.length === 0) return { code: "immutable" };
  if (signatures.length === 0) return { code: "unsigned" };
  const signed = signatures.map((signature) => ({ ...signature, key: sha256Hex(signature.publicKey) }));
  const stranger = signed.find(({ key }) => !owners.keys.includes(key));
  if (stranger !== undefined) return { code: "not_owner", key: stranger.key };
  const signers = new Set<string>();
  for (const signature of signed) {
    const signer = signerOf(signature, change);
    if (signer === undefined) return { code: "bad_signature", key: signature.key };
    signers.add(signer);
  }
  return signers.size < owners.threshold ? { code: "too_few", signed: signers.size } : undefined;
}

/**
 * Whose signature over the change it is: the point itself. A key has several encodings, each with a digest of its own, and
 * whoever has it named by two of them is one owner all the same.
 *
 * @returns undefined where it is not good
 */
function signerOf({ publicKey, signature }: ChangeSignature, change: Change | ChangeAhead): string | undefined {
  const key = ownerKeyOf(publicKey);
  if (key === undefined) return undefined;
  const { curve, point } = key;
  const numbers = ecdsaSignatureOfDer(curve, signature);
  if (numbers === undefined) return undefined;
  const isGood = verifyEcdsa(curve, "sha256", encodeEcSpki(key), changeToSign(change), numbers);
  return isGood ? `${curve} ${toHex(point)}` : undefined;
}

/**
 * The key of a workload owner: on P-256, P-384 or P-521, by the name of the curve (RFC 5480 §2.1.1).
 *
 * @param publicKey SubjectPublicKeyInfo, DER, its point in any form
 * @returns with the point uncompressed; undefined where it is no such key
 */
export function ownerKeyOf(publicKey: Uint8Array): EcKeyInfo | undefined {
  try {
    const key = readSpki(publicKey);
    if (key.kind !== "ec") return undefined;
    const point = uncompressedPoint(key.curve, key.point);
    return point && { ...key, point };
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}

/** One signature of each key, the first: a transition holds no more of it. */
export function onePerKey(signatures: readonly ChangeSignature[]): ChangeSignature[] {
  const byKey = new Map<string, ChangeSignature>();
  for (const signature of signatures) {
    const key = sha256Hex(signature.publicKey);
    if (!byKey.has(key)) byKey.set(key, signature);
  }
  return [...byKey.values()];
}
