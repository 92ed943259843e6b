import { settle } from "../../crypto/node.ts";
import { isUnreachable } from "../endorsements/error.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import { parseAnew, readOnce } from "../parse.ts";
import { isSuperseded, NOTHING_SEEN, refuseSuperseded } from "../high-water.ts";
import { checkReportData } from "../report-data.ts";
import type { BoundEvidence, CompleteOptions, Tee, VerifyOptions } from "../tee.ts";
import { pckCaOf } from "./chain.ts";
import { TDX_CLAIM_EXTENSIONS, tdxClaims } from "./claims.ts";
import { tdxLaunch } from "./identity.ts";
import { policyHashOf } from "./policy-hash.ts";
import { verifyTdxSignature } from "./signature.ts";
import { type VerifiedTdxQuote, verifySignedTdx } from "./verify.ts";

export const TDX: Tee<"tdx"> = {
  verify,
  verifyComplete,
  // No software TEE imitates it.
  verifySimulated: () => undefined,
  // A PCK's certificate is in its quote.
  complete: async (evidence) => evidence,
  policyField: "MRCONFIGID",
  policyHash: ({ quote }) => policyHashOf(quote.body.mrConfigId),
  launch: ({ quote }) => tdxLaunch(quote.body),
  claims: tdxClaims,
  claimExtensions: TDX_CLAIM_EXTENSIONS,
  chip: ({ ppid }) => ppid,
};

async function verify(
  { evidence, reportData }: BoundEvidence<TdxEvidence>,
  { tdxAnchors, now, highWater, vendors, cache, abandoned }: VerifyOptions,
): Promise<VerifiedTdxQuote> {
  const { parse, keep } = cache?.begin() ?? readOnce();
  const at = now();
  const signed = await settle(() => {
    const quote = verifyTdxSignature(evidence, tdxAnchors, at, parse);
    checkReportData(quote, reportData);
    return quote;
  });
  const platform = { fmspc: signed.pck.fmspc, ca: pckCaOf(signed.chain) };
  const judge = ({ collateral }: Obtained): Promise<VerifiedTdxQuote> => {
    abandoned?.throwIfAborted();
    const judgedAt = now();
    return settle(() => verifySignedTdx(signed, collateral, judgedAt, parse));
  };
  let obtained = await tdxCollateral(evidence, () => vendors.tdxCollateral(platform));
  let verified = await judge(obtained);
  if (obtained.fetched && isSuperseded(highWater.mark, verified)) {
    // What is kept may be of before, and Intel may have signed the new one since.
    obtained = await tdxCollateral(evidence, () => vendors.tdxCollateral(platform, { renew: true }));
    verified = await judge(obtained);
  }
  refuseSuperseded(highWater.mark, verified);
  highWater.raise(verified, obtained.fetched);
  keep();
  return verified;
}

function verifyComplete(
  { evidence, reportData }: BoundEvidence<TdxEvidence>,
  { tdxAnchors, at }: CompleteOptions,
): VerifiedTdxQuote {
  const signed = verifyTdxSignature(evidence, tdxAnchors, at, parseAnew);
  checkReportData(signed, reportData);
  const verified = verifySignedTdx(signed, evidence.collateral, at, parseAnew);
  // TCB info and QE identity have to be of one evaluation.
  refuseSuperseded(NOTHING_SEEN, verified);
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
