import type { Evidence } from "../attestation/evidence.ts";
import { fromUtf8 } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { digest } from "../crypto/node.ts";

/**
 * The nonce of a statement. A report has no time in it, and what the vendor signed comes beside it: an old report with a
 * revocation list of today would pass for one of today. So the nonce is made of what the vendor signed before the report was
 * asked for: SHA-256("contrast-statement-v1" ‖ 0 ‖ random, 32 bytes ‖ SHA-256 of each document, in ascending order). Whoever
 * made the nonce had the documents, and whoever made the report had the nonce.
 */
const CONTEXT = fromUtf8("contrast-statement-v1\0");

/** @param random 32 bytes @param bound digests of documents, hex, each once and sorted @returns 32 bytes */
export function statementNonce(random: Uint8Array, bound: readonly string[]): Uint8Array {
  const digests = bound.map((hex) => fromHex(hex, 32));
  if (random.length !== 32 || digests.includes(undefined))
    throw new RangeError("want 32 bytes, and digests of 32 bytes");
  return digest("sha256", CONTEXT, random, ...digests.map((bytes) => bytes ?? new Uint8Array()));
}

/** @returns the digests of what vouches for evidence and came beside it, hex */
export function endorsementsOf(evidence: Evidence): readonly string[] {
  if (evidence.kind === "snp") {
    const { certificates, crl } = evidence;
    return [...certificates, ...(crl === undefined ? [] : [crl])].map(sha256Hex);
  }
  const { collateral } = evidence;
  if (collateral === undefined) return [];
  const { tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl } = collateral;
  return [tcbInfo, qeIdentity, signingChain, pckCrl, rootCrl].map(sha256Hex);
}
