import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { sha256Hex } from "../bytes/sha256.ts";
import { type Change, type ChangeAhead, changeToSign } from "./change.ts";

/** What a workload owner allows by signature: for the Coordinator before a change, and for all who check it later. */
export interface ChangeSignature {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** ECDSA with SHA-256, DER (SEC 1 §C.5). */
  readonly signature: Uint8Array;
}

/**
 * - `immutable`: the manifest before names no owner
 * - `unsigned`: nobody signed
 * - `not_owner`: a key is no owner's
 * - `bad_signature`: a signature is not over this change, or not of the one kind that counts
 */
export type ChangeFault =
  { readonly code: "immutable" | "unsigned" } | { readonly code: "not_owner" | "bad_signature"; readonly key: string };

/** P-256, P-384 and P-521, by OpenSSL's names. */
const CURVES = new Set<string | undefined>(["prime256v1", "secp384r1", "secp521r1"]);

/**
 * Whether the owners allow a change. Every signature has to be good, not one of them only: what is stored beside a good
 * one must not be anybody's.
 *
 * @param owners SHA-256 of their keys, hex, as the manifest says that is active before the change
 * @returns undefined where they do
 */
export function faultOfChange(
  owners: readonly string[],
  change: Change | ChangeAhead,
  signatures: readonly ChangeSignature[],
): ChangeFault | undefined {
  if (owners.length === 0) return { code: "immutable" };
  if (signatures.length === 0) return { code: "unsigned" };
  const signed = signatures.map((signature) => ({ ...signature, key: sha256Hex(signature.publicKey) }));
  const stranger = signed.find(({ key }) => !owners.includes(key));
  if (stranger !== undefined) return { code: "not_owner", key: stranger.key };
  const bad = signed.find((signature) => !signs(signature, change));
  return bad === undefined ? undefined : { code: "bad_signature", key: bad.key };
}

function signs({ publicKey, signature }: ChangeSignature, change: Change | ChangeAhead): boolean {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(publicKey), type: "spki", format: "der" });
  } catch {
    return false;
  }
  const isEc = key.asymmetricKeyType === "ec" && CURVES.has(key.asymmetricKeyDetails?.namedCurve);
  return isEc && verify("sha256", changeToSign(change), { key, dsaEncoding: "der" }, signature);
}
