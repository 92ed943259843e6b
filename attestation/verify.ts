import type { TeeKind } from "./evidence.ts";
import type { BoundEvidence, CompleteOptions, EvidenceOf, SimulatedOptions, VerifiedOf, VerifyOptions } from "./tee.ts";
import { TEES } from "./tees.ts";

/**
 * Verifies evidence step by step, and asks the vendors in between for what it lacks. Nothing is asked before the
 * signature is verified and the evidence is known to be made for this connection, and then only what is not per chip:
 *
 * - SNP: the issuers of the product, then its revocation list once the chain leads to the pinned root. Up to there the
 *   key may be of the sender's own making, so a stranger can have the issuers asked for: one request for each product and
 *   kind of key, however often he comes.
 * - TDX: the collateral of a platform whose certificate leads to the pinned root.
 *
 * What the vendor says goes before what the sender says it said: that may be older, and still valid. Where the vendor
 * can't be asked, the sender's will do.
 *
 * @throws EvidenceError, EndorsementError
 */
export function verifyEvidence<K extends TeeKind>(
  bound: BoundEvidence<EvidenceOf<K>>,
  options: VerifyOptions,
): Promise<VerifiedOf<K>> {
  return TEES[bound.evidence.kind].verify(bound, options);
}

/**
 * Verifies evidence that brings all it needs along, for who can't ask the vendors. What it brings is as old as the sender
 * likes, within the time that the vendor said.
 *
 * @throws EvidenceError
 */
export function verifyCompleteEvidence<K extends TeeKind>(
  bound: BoundEvidence<EvidenceOf<K>>,
  options: CompleteOptions,
): VerifiedOf<K> {
  return TEES[bound.evidence.kind].verifyComplete(bound, options);
}

/**
 * Verifies evidence that brings the root of a software TEE along, under these roots alone. Nobody is asked for anything.
 *
 * @param roots the digests of their keys
 * @returns undefined where it brings none of them
 * @throws EvidenceError
 */
export function verifySimulated<K extends TeeKind>(
  evidence: EvidenceOf<K>,
  roots: ReadonlySet<string>,
  options: SimulatedOptions,
): VerifiedOf<K> | undefined {
  return TEES[evidence.kind].verifySimulated(evidence, roots, options);
}
