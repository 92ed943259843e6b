import { policyHash, policyField } from "../attestation/policy-hash.ts";
import { matchReferenceValues, policyOf } from "../manifest/appraise.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { Fields } from "./print.ts";
import { describeSnpReport } from "./snp-fields.ts";
import { describeTdxQuote } from "./tdx-fields.ts";
import type { TeeKind } from "../attestation/evidence.ts";
import type { VerifiedEvidence, VerifiedOf } from "../attestation/tee.ts";
import type { ReferenceValues } from "../manifest/reference-values.ts";
import { type Binding, type Comparison, equal } from "./comparison.ts";
import { compareSimulated, compareSnp } from "./snp-comparisons.ts";
import { compareTdx } from "./tdx-comparisons.ts";

/** The Coordinator's evidence, beside what the manifest says about it. */
export interface EvidenceFacts {
  readonly tee: TeeKind;
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
export function evidenceFacts(
  verified: VerifiedEvidence,
  manifest: Manifest,
  binding: Binding = "connection",
): EvidenceFacts {
  const path = matchReferenceValues(verified, manifest);
  const { role = "none" } = policyOf(verified, manifest);
  const hash = policyHash(verified);
  const policy = `$.Policies["${hash}"]`;
  const { platform, ...others } = described(verified);
  return {
    tee: verified.kind,
    platform,
    referenceValues: path,
    comparisons: [
      ...compareWith(verified, manifest, path, binding),
      equal(policyField(verified.kind), hash, hash, policy),
      equal("role of this policy", role, "coordinator", `${policy}.Role`),
    ],
    ...others,
  };
}

/** What every kind of evidence says of itself. */
function described<K extends TeeKind>(verified: VerifiedOf<K>): Described {
  return DESCRIBE[verified.kind](verified);
}

type Described = Pick<EvidenceFacts, "platform" | "tcbStatus" | "advisories" | "fields">;

const DESCRIBE: { readonly [K in TeeKind]: (verified: VerifiedOf<K>) => Described } = {
  snp: ({ simulated, product, report }) => ({
    platform: simulated ? "software TEE" : `AMD SEV-SNP, ${product}`,
    tcbStatus: null,
    advisories: [],
    fields: describeSnpReport(report),
  }),
  tdx: ({ tcbStatus, advisories, quote }) => ({
    platform: "Intel TDX",
    tcbStatus,
    advisories,
    fields: describeTdxQuote(quote),
  }),
};

function compareWith<K extends TeeKind>(
  verified: VerifiedOf<K>,
  manifest: Manifest,
  path: string,
  binding: Binding,
): Comparison[] {
  return COMPARE[verified.kind](verified, manifest.referenceValues, path, binding);
}

const COMPARE: {
  readonly [K in TeeKind]: (
    verified: VerifiedOf<K>,
    referenceValues: ReferenceValues,
    path: string,
    binding: Binding,
  ) => Comparison[];
} = {
  snp: (verified, { snp, insecure }, path, binding) =>
    verified.simulated
      ? matched(insecure, path).flatMap((set) => compareSimulated(verified, set, path, binding))
      : matched(snp, path).flatMap((set) => compareSnp(verified, set, path, binding)),
  tdx: (verified, { tdx }, path, binding) =>
    matched(tdx, path).flatMap((set) => compareTdx(verified, set, path, binding)),
};

/** The set of this JSON path. */
function matched<Values>(sets: readonly Values[], path: string): readonly Values[] {
  const index = Number(/\d+/.exec(path)?.[0]);
  return sets.slice(index, index + 1);
}
