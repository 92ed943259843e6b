import { Refusal } from "../api/refusal.ts";
import { type Claims, claims } from "../attestation/claims.ts";
import { EvidenceError } from "../attestation/error.ts";
import type { Evidence } from "../attestation/evidence.ts";
import { policyHash } from "../attestation/policy-hash.ts";
import { checkReportData } from "../attestation/report-data.ts";
import { withSimulatedRoots } from "../attestation/snp/roots.ts";
import { validateSimulated, validateSnp } from "../attestation/snp/validate.ts";
import { type VerifiedSnpReport, verifySnp } from "../attestation/snp/verify.ts";
import type { Manifest, PolicyEntry } from "./manifest.ts";

/**
 * Decides about a peer by a manifest, in two steps. `verifyClaimant`: is the evidence real, and made for this very
 * connection? `admit`: does this manifest list what it says? The second step is cheap, so that it can be taken anew
 * whenever the manifest may have changed.
 */

/** Evidence that is real and was made for the connection it came on. Only `verifyClaimant` makes one. */
class Verified {
  readonly #report: VerifiedSnpReport;

  constructor(report: VerifiedSnpReport) {
    this.#report = report;
  }

  get report(): VerifiedSnpReport {
    return this.#report;
  }

  /** SHA-256 of the policy document that its VM was launched with, hex. */
  get policyHash(): string {
    return policyHash(this.#report);
  }

  get claims(): Claims {
    return claims(this.#report);
  }
}

export type VerifiedClaimant = Verified;

export interface AppraiseOptions {
  /** Whether the software TEEs that the manifest names may be believed. */
  readonly allowInsecure: boolean;
  readonly at: Date;
}

/**
 * @param claimant what the peer showed, and the report data that binds evidence to this connection
 * @throws EvidenceError
 */
export function verifyClaimant(
  claimant: { readonly evidence: Evidence; readonly reportData: Buffer },
  manifest: Manifest,
  options: AppraiseOptions,
): VerifiedClaimant {
  const insecure = options.allowInsecure ? manifest.referenceValues.insecure : [];
  const trustAnchors = withSimulatedRoots(insecure.map(({ rootDigest }) => rootDigest));
  const report = verifySnp(claimant.evidence, { trustAnchors, at: options.at });
  checkReportData(report, claimant.reportData);
  return new Verified(report);
}

/**
 * @returns what the manifest grants to the policy of this peer
 * @throws EvidenceError where there is one set of reference values and it does not match; Refusal
 *   `reference_values_mismatch` where none of several does, `policy_not_allowed`
 */
export function admit({ report, policyHash: hash }: VerifiedClaimant, manifest: Manifest): PolicyEntry {
  requireReferenceValues(report, manifest);
  const policy = manifest.policies.get(hash);
  if (policy !== undefined) return policy;
  throw new Refusal("policy_not_allowed", "the manifest does not list the policy of this pod", {
    where: "HOST_DATA",
    got: hash,
    want: "a hash of $.Policies",
    hint: "run `contrast generate` and `contrast set` again if the pod was changed on purpose",
  });
}

/** A peer is accepted if it matches any one of the listed sets completely. */
function requireReferenceValues(report: VerifiedSnpReport, { referenceValues }: Manifest): void {
  const attempts = [
    ...referenceValues.snp.map((values, index) => ({
      path: `$.ReferenceValues.snp[${index}]`,
      validate: () => validateSnp(report, values),
    })),
    ...referenceValues.insecure.map((values, index) => ({
      path: `$.ReferenceValues.insecure[${index}]`,
      validate: () => validateSimulated(report, values),
    })),
  ];
  const mismatches: { path: string; error: EvidenceError }[] = [];
  for (const { path, validate } of attempts) {
    try {
      validate();
      return;
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
