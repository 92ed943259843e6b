import { policyHash } from "../../attestation/policy-hash.ts";
import { matchReferenceValues, policyOf, type VerifiedEvidence } from "../../manifest/appraise.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import type { Fields } from "../evidence/print.ts";
import { describeSnpReport } from "../evidence/snp-fields.ts";
import { describeTdxQuote } from "../evidence/tdx-fields.ts";
import { type Comparison, equal } from "./comparison.ts";
import { compareSimulated, compareSnp } from "./snp-comparisons.ts";
import { compareTdx } from "./tdx-comparisons.ts";

/** The Coordinator's evidence, beside what the manifest says about it. */
export interface EvidenceFacts {
  readonly tee: "snp" | "tdx";
  /** For people: `AMD SEV-SNP, Milan`, `Intel TDX` or `software TEE`. */
  readonly platform: string;
  /** The JSON path of the set of reference values that matched. */
  readonly referenceValues: string;
  readonly comparisons: readonly Comparison[];
  /** Intel's word about the platform; null where AMD made it. */
  readonly tcbStatus: string | null;
  readonly advisories: readonly string[];
  /** All of the report or quote, by the names of its specification. */
  readonly fields: Fields;
}

/** @throws as `matchReferenceValues` and `policyOf`: of evidence that does not match there are no facts */
export function evidenceFacts(verified: VerifiedEvidence, manifest: Manifest): EvidenceFacts {
  const path = matchReferenceValues(verified, manifest);
  const { role = "none" } = policyOf(verified, manifest);
  const hash = policyHash(verified);
  const policy = `$.Policies["${hash}"]`;
  const isSnp = verified.kind === "snp";
  return {
    tee: verified.kind,
    platform: platformOf(verified),
    referenceValues: path,
    comparisons: [
      ...compareWith(verified, manifest, path),
      equal(isSnp ? "HOST_DATA" : "MRCONFIGID", hash, hash, policy),
      equal("role of this policy", role, "coordinator", `${policy}.Role`),
    ],
    tcbStatus: isSnp ? null : verified.tcbStatus,
    advisories: isSnp ? [] : verified.advisories,
    fields: isSnp ? describeSnpReport(verified.report) : describeTdxQuote(verified.quote),
  };
}

function platformOf(verified: VerifiedEvidence): string {
  if (verified.kind === "tdx") return "Intel TDX";
  return verified.root.insecure ? "software TEE" : `AMD SEV-SNP, ${verified.product}`;
}

function compareWith(verified: VerifiedEvidence, { referenceValues }: Manifest, path: string): Comparison[] {
  const index = Number(/\d+/.exec(path)?.[0]);
  const matched = <Values>(sets: readonly Values[]): readonly Values[] => sets.slice(index, index + 1);
  if (verified.kind === "tdx") return matched(referenceValues.tdx).flatMap((set) => compareTdx(verified, set, path));
  if (verified.root.insecure) {
    return matched(referenceValues.insecure).flatMap((set) => compareSimulated(verified, set, path));
  }
  return matched(referenceValues.snp).flatMap((set) => compareSnp(verified, set, path));
}
