import { isUnreachable } from "../endorsements/error.ts";
import { EvidenceError } from "../error.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import { EvidenceCache } from "../evidence-cache.ts";
import { isSuperseded, refuseSuperseded } from "../high-water.ts";
import { checkReportData } from "../report-data.ts";
import type { BoundEvidence, Tee, VerifyOptions } from "../tee.ts";
import { pckCaOf } from "./chain.ts";
import { TDX_CLAIM_EXTENSIONS, tdxClaims } from "./claims.ts";
import { verifyTdxSignature } from "./signature.ts";
import { type VerifiedTdxQuote, verifySignedTdx } from "./verify.ts";

export const TDX: Tee<"tdx"> = {
  verify,
  // No software TEE imitates it.
  verifySimulated: () => undefined,
  // A PCK's certificate is in its quote.
  complete: async (evidence) => evidence,
  policyField: "MRCONFIGID",
  policyHash,
  claims: tdxClaims,
  claimExtensions: TDX_CLAIM_EXTENSIONS,
  chip: ({ ppid }) => ppid,
};

async function verify(
  { evidence, reportData }: BoundEvidence<TdxEvidence>,
  { tdxAnchors, now, highWater, vendors, cache, abandoned }: VerifyOptions,
): Promise<VerifiedTdxQuote> {
  const { parse, keep } = (cache ?? new EvidenceCache()).begin();
  const signed = verifyTdxSignature(evidence, tdxAnchors, now(), parse);
  checkReportData(signed, reportData);
  const platform = { fmspc: signed.pck.fmspc, ca: pckCaOf(signed.chain) };
  const judge = ({ collateral }: Obtained): VerifiedTdxQuote => {
    abandoned?.throwIfAborted();
    return verifySignedTdx(signed, collateral, now(), parse);
  };
  let obtained = await tdxCollateral(evidence, () => vendors.tdxCollateral(platform));
  let verified = judge(obtained);
  if (obtained.fetched && isSuperseded(highWater.mark, verified)) {
    // What is kept may be of before, and Intel may have signed the new one since.
    obtained = await tdxCollateral(evidence, () => vendors.tdxCollateral(platform, { renew: true }));
    verified = judge(obtained);
  }
  refuseSuperseded(highWater.mark, verified);
  highWater.raise(verified, obtained.fetched);
  keep();
  return verified;
}

interface Obtained {
  readonly collateral: TdxCollateral;
  /** Not brought along. */
  readonly fetched: boolean;
}

async function tdxCollateral(
  { collateral: brought }: TdxEvidence,
  fetch: () => Promise<TdxCollateral>,
): Promise<Obtained> {
  try {
    return { collateral: await fetch(), fetched: true };
  } catch (error) {
    if (isUnreachable(error) && brought !== undefined) return { collateral: brought, fetched: false };
    throw error;
  }
}

const HASH_SIZE = 32;

/** Zeros follow it: what stood there would say something that nobody compares. */
function policyHash({ quote }: VerifiedTdxQuote): string {
  const { mrConfigId } = quote.body;
  if (mrConfigId.subarray(HASH_SIZE).some((byte) => byte !== 0)) {
    throw new EvidenceError("config_id_malformed", "the VM was launched with something else than a policy hash", {
      where: "MRCONFIGID",
      got: mrConfigId.toString("hex"),
      want: "a hash of 32 bytes and 16 zero bytes",
    });
  }
  return mrConfigId.toString("hex", 0, HASH_SIZE);
}
