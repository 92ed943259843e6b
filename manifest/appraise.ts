import { Refusal } from "../api/refusal.ts";
import { type Claims, claims } from "../attestation/claims.ts";
import { EvidenceError } from "../attestation/error.ts";
import type { Evidence, SnpEvidence } from "../attestation/evidence.ts";
import type { EvidenceCache } from "../attestation/evidence-cache.ts";
import { digestOf } from "../attestation/path.ts";
import { policyHash } from "../attestation/policy-hash.ts";
import { checkReportData } from "../attestation/report-data.ts";
import { AMD_ROOTS, simulatedRoots } from "../attestation/snp/roots.ts";
import { validateSimulated, validateSnp } from "../attestation/snp/validate.ts";
import { type VerifiedSnpReport, verifySnp } from "../attestation/snp/verify.ts";
import { INTEL_ROOTS } from "../attestation/tdx/roots.ts";
import { validateTdx } from "../attestation/tdx/validate.ts";
import { type VerifiedTdxQuote, verifyTdx } from "../attestation/tdx/verify.ts";
import { parseCertificate } from "../attestation/x509.ts";
import type { Manifest, PolicyEntry } from "./manifest.ts";

/**
 * Decides about a peer by a manifest, in two steps. `verifyClaimant`: is the evidence real, and made for this very
 * connection? `admit`: does this manifest list what it says? The second step is cheap, so that it can be taken anew
 * whenever the manifest may have changed.
 */

/** Evidence up to the vendor's root, of either kind. */
export type VerifiedEvidence = VerifiedSnpReport | VerifiedTdxQuote;

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
  readonly at: Date;
  /** Adds what the peer did not send along: certificates, revocation lists, collateral. Nothing of it is trusted. */
  readonly complete: (evidence: Evidence) => Promise<Evidence>;
  /** What earlier verifications parsed, for whoever verifies often. */
  readonly cache?: EvidenceCache | undefined;
}

/**
 * @param claimant what the peer showed, and the report data that binds evidence to this connection
 * @throws EvidenceError
 */
export async function verifyClaimant(
  claimant: { readonly evidence: Evidence; readonly reportData: Buffer },
  manifest: Manifest,
  options: AppraiseOptions,
): Promise<VerifiedClaimant> {
  const simulated = options.allowInsecure ? manifest.referenceValues.insecure : [];
  const roots = new Set(simulated.map(({ rootDigest }) => rootDigest));
  const verified = await verifyEvidence(claimant.evidence, roots, options);
  checkReportData(verified, claimant.reportData);
  return new Verified(verified);
}

async function verifyEvidence(
  evidence: Evidence,
  roots: ReadonlySet<string>,
  { at, complete, cache }: AppraiseOptions,
): Promise<VerifiedEvidence> {
  // No vendor knows a software TEE. Evidence that brings its root along is verified under such roots alone, or a real
  // chip could get around the vendor's revocation list by adding one.
  if (evidence.kind === "snp" && bringsRoot(evidence, roots, cache)) {
    return verifySnp(evidence, { trustAnchors: simulatedRoots([...roots]), at, cache });
  }
  const whole = await complete(evidence);
  return whole.kind === "snp"
    ? verifySnp(whole, { trustAnchors: AMD_ROOTS, at, crl: whole.crl, cache })
    : verifyTdx(whole, { trustAnchors: INTEL_ROOTS, at, cache });
}

function bringsRoot({ certificates }: SnpEvidence, roots: ReadonlySet<string>, cache?: EvidenceCache): boolean {
  const parse = (der: Buffer) => cache?.recall(parseCertificate, der) ?? parseCertificate(der);
  return roots.size > 0 && certificates.some((der) => roots.has(digestOf(parse(der))));
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
    where: verified.kind === "snp" ? "HOST_DATA" : "MRCONFIGID",
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

/** The comparisons with each set of this kind of TEE. */
function attempts(
  verified: VerifiedEvidence,
  { referenceValues }: Manifest,
): readonly { readonly path: string; readonly validate: () => void }[] {
  const each = <T>(kind: "snp" | "tdx" | "insecure", sets: readonly T[], validate: (set: T) => void) =>
    sets.map((set, index) => ({ path: `$.ReferenceValues.${kind}[${index}]`, validate: () => validate(set) }));
  if (verified.kind === "tdx") return each("tdx", referenceValues.tdx, (set) => validateTdx(verified, set));
  return [
    ...each("snp", referenceValues.snp, (set) => validateSnp(verified, set)),
    ...each("insecure", referenceValues.insecure, (set) => validateSimulated(verified, set)),
  ];
}
