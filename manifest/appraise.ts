import { Refusal } from "../api/refusal.ts";
import { type Claims, claims } from "../attestation/claims.ts";
import type { Clock } from "../attestation/clock.ts";
import type { Vendors } from "../attestation/endorsements/vendors.ts";
import { EvidenceError } from "../attestation/error.ts";
import type { TeeKind } from "../attestation/evidence.ts";
import type { EvidenceCache } from "../attestation/evidence-cache.ts";
import { policyField, policyHash } from "../attestation/policy-hash.ts";
import { checkReportData } from "../attestation/report-data.ts";
import { AMD_ROOTS } from "../attestation/snp/roots.ts";
import { validateSimulated, validateSnp } from "../attestation/snp/validate.ts";
import { INTEL_ROOTS } from "../attestation/tdx/roots.ts";
import { validateTdx } from "../attestation/tdx/validate.ts";
import type { BoundEvidence, VerifiedEvidence, VerifiedOf } from "../attestation/tee.ts";
import { verifyCompleteEvidence, verifyEvidence, verifySimulated } from "../attestation/verify.ts";
import type { Manifest, PolicyEntry } from "./manifest.ts";
import type { ReferenceValues } from "./reference-values.ts";

/**
 * Decides about a peer by a manifest, in two steps. `verifyClaimant`: is the evidence real, and made for this very
 * connection? `admit`: does this manifest list what it says? The second step is cheap, so that it can be taken anew
 * whenever the manifest may have changed.
 */

/** Evidence that is real and was made for the connection it came on. Only `verifyClaimant` makes one. */
class Verified {
  readonly #evidence: VerifiedEvidence;

  constructor(evidence: VerifiedEvidence) {
    this.#evidence = evidence;
  }

  get evidence(): VerifiedEvidence {
    return this.#evidence;
  }

  /** SHA-256 of the policy document that its VM was launched with, hex. */
  get policyHash(): string {
    return policyHash(this.#evidence);
  }

  get claims(): Claims {
    return claims(this.#evidence);
  }
}

export type VerifiedClaimant = Verified;

export interface AppraiseOptions {
  /** Whether the software TEEs that the manifest names may be believed. */
  readonly allowInsecure: boolean;
  readonly clock: Clock;
  /** Who is asked for what the peer did not send along. Nothing of it is trusted. */
  readonly vendors: Vendors;
  /** What earlier verifications parsed, for whoever verifies often. */
  readonly cache?: EvidenceCache | undefined;
  /** Fires when the peer does not wait for the outcome any more. */
  readonly abandoned?: AbortSignal | undefined;
}

/**
 * @param claimant what the peer showed, and the report data that binds evidence to this connection
 * @throws EvidenceError, EndorsementError
 */
export async function verifyClaimant(
  claimant: BoundEvidence,
  manifest: Manifest,
  options: AppraiseOptions,
): Promise<VerifiedClaimant> {
  const { clock, allowInsecure } = options;
  return verifyUnder(claimant, simulatedRootsOf(manifest, allowInsecure), () => clock.now(manifest), options);
}

/**
 * The same for who has no manifest: real, and made for this very connection. What a VM has to be is decided elsewhere.
 *
 * @param roots of software TEEs that are believed, by the digests of their keys
 * @throws EvidenceError, EndorsementError
 */
export async function verifyStranger(
  claimant: BoundEvidence,
  roots: ReadonlySet<string>,
  options: AppraiseOptions,
): Promise<VerifiedClaimant> {
  const { clock, allowInsecure } = options;
  return verifyUnder(claimant, allowInsecure ? roots : new Set(), () => clock.now(), options);
}

/**
 * As `verifyClaimant`, for evidence that brings all it needs along: nobody is asked for anything, and so nothing is waited
 * for.
 *
 * @param at the time to verify for
 * @throws EvidenceError
 */
export function verifyComplete(
  claimant: BoundEvidence,
  manifest: Manifest,
  { allowInsecure, at }: { readonly allowInsecure: boolean; readonly at: Date },
): VerifiedClaimant {
  const { evidence, reportData } = claimant;
  const roots = simulatedRootsOf(manifest, allowInsecure);
  const verified =
    verifySimulated(evidence, roots, { at }) ??
    verifyCompleteEvidence({ evidence, reportData }, { snpAnchors: AMD_ROOTS, tdxAnchors: INTEL_ROOTS, at });
  checkReportData(verified, reportData);
  return new Verified(verified);
}

function simulatedRootsOf(manifest: Manifest, allowInsecure: boolean): ReadonlySet<string> {
  const simulated = allowInsecure ? manifest.referenceValues.insecure : [];
  return new Set(simulated.map(({ rootDigest }) => rootDigest));
}

async function verifyUnder(
  claimant: BoundEvidence,
  roots: ReadonlySet<string>,
  now: () => Date,
  options: AppraiseOptions,
): Promise<VerifiedClaimant> {
  const verified = await verifyWithin(claimant, roots, now, options);
  checkReportData(verified, claimant.reportData);
  return new Verified(verified);
}

async function verifyWithin(
  { evidence, reportData }: BoundEvidence,
  roots: ReadonlySet<string>,
  now: () => Date,
  { clock, ...others }: AppraiseOptions,
): Promise<VerifiedEvidence> {
  const at = now();
  // No vendor knows a software TEE. Evidence that brings its root along is verified under such roots alone, or a real
  // chip could get around the vendor's revocation list by adding one.
  const bySoftware = verifySimulated(evidence, roots, { at, cache: others.cache });
  if (bySoftware !== undefined) return bySoftware;
  const anchors = { snpAnchors: AMD_ROOTS, tdxAnchors: INTEL_ROOTS };
  return verifyEvidence({ evidence, reportData }, { ...anchors, ...others, now, highWater: clock.highWater });
}

/**
 * @returns what the manifest grants to the policy of this peer
 * @throws as `matchReferenceValues` and `policyOf`
 */
export function admit({ evidence }: VerifiedClaimant, manifest: Manifest): PolicyEntry {
  matchReferenceValues(evidence, manifest);
  return policyOf(evidence, manifest);
}

/** @throws Refusal `policy_not_allowed` */
export function policyOf(verified: VerifiedEvidence, manifest: Manifest): PolicyEntry {
  const hash = policyHash(verified);
  const policy = manifest.policies.get(hash);
  if (policy !== undefined) return policy;
  throw new Refusal("policy_not_allowed", "the manifest does not list the policy of this pod", {
    where: policyField(verified.kind),
    got: hash,
    want: "a hash of $.Policies",
    hint: "run `contrast generate` and `contrast set` again if the pod was changed on purpose",
  });
}

/**
 * Evidence is accepted if it matches any one of the listed sets completely.
 *
 * @returns the JSON path of that set
 * @throws EvidenceError where there is one set of its kind and it does not match; Refusal `reference_values_mismatch`
 *   where there is none, or none of several does
 */
export function matchReferenceValues(verified: VerifiedEvidence, manifest: Manifest): string {
  const mismatches: { readonly path: string; readonly error: EvidenceError }[] = [];
  for (const { path, validate } of attempts(verified, manifest)) {
    try {
      validate();
      return path;
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error;
      mismatches.push({ path, error });
    }
  }
  const [only, ...others] = mismatches;
  if (only !== undefined && others.length === 0) throw only.error;
  throw new Refusal("reference_values_mismatch", "the evidence matches no set of the manifest's reference values", {
    where: "$.ReferenceValues",
    got: mismatches.map(({ path, error }) => `${path}: ${error.describe()}`).join(" | ") || "no set for this TEE",
    want: "one set that matches completely",
  });
}

interface Attempt {
  /** JSON path of the set. */
  readonly path: string;
  readonly validate: () => void;
}

/** The comparisons with each set that evidence of a kind may match. */
const ATTEMPTS: { readonly [K in TeeKind]: (verified: VerifiedOf<K>, sets: ReferenceValues) => readonly Attempt[] } = {
  snp: (verified, { snp, insecure }) => [
    ...each("snp", snp, (set) => validateSnp(verified, set)),
    ...each("insecure", insecure, (set) => validateSimulated(verified, set)),
  ],
  tdx: (verified, { tdx }) => each("tdx", tdx, (set) => validateTdx(verified, set)),
};

function each<T>(key: keyof ReferenceValues, sets: readonly T[], validate: (set: T) => void): readonly Attempt[] {
  return sets.map((set, index) => ({ path: `$.ReferenceValues.${key}[${index}]`, validate: () => validate(set) }));
}

function attempts<K extends TeeKind>(verified: VerifiedOf<K>, { referenceValues }: Manifest): readonly Attempt[] {
  return ATTEMPTS[verified.kind](verified, referenceValues);
}
