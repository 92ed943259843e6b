import { completeEvidence } from "../../attestation/complete.ts";
import type { Evidence } from "../../attestation/evidence.ts";
import { AMD_ROOTS } from "../../attestation/snp/roots.ts";
import { parseSnpReport, REPORT_SIZE } from "../../attestation/snp/report.ts";
import { parseTdxQuote } from "../../attestation/tdx/quote.ts";
import { INTEL_ROOTS } from "../../attestation/tdx/roots.ts";
import type { VerifiedEvidence, VerifyOptions } from "../../attestation/tee.ts";
import { verifyEvidence } from "../../attestation/verify.ts";
import { CliError, type Context } from "../context.ts";
import { readEvidence } from "../evidence/evidence.ts";
import { type EvidenceOptions, readRequest } from "../evidence/request.ts";

/** Whether a report comes from hardware: by the given certificates and lists, else by what the vendor says. */

const OFFLINE = [
  "vcek",
  "vlek",
  "certTable",
  "certChain",
  "crl",
  "tcbInfo",
  "tcbSigningChain",
  "qeIdentity",
  "pckCrl",
  "rootCaCrl",
] as const satisfies readonly (keyof EvidenceOptions)[];

export type EndorsementOptions = Pick<EvidenceOptions, (typeof OFFLINE)[number]> & {
  readonly fromReport: string;
  readonly unverified?: true;
};

/**
 * @returns undefined where it was not to be verified
 * @throws CliError, EvidenceError, EndorsementError
 */
export async function verifyReport(
  context: Context,
  bytes: Buffer,
  options: EndorsementOptions,
): Promise<VerifiedEvidence | undefined> {
  const { fromReport, unverified } = options;
  const isSnp = bytes.length === REPORT_SIZE;
  const given = OFFLINE.filter((name) => options[name] !== undefined);
  if (given.length > 0) {
    if (unverified) throw contradiction();
    const endorsements = Object.fromEntries(given.map((name) => [name, options[name]]));
    const offline: EvidenceOptions = { ...endorsements, ...(isSnp ? { snp: fromReport } : { tdx: fromReport }) };
    const verify = await readEvidence(readRequest(offline), offline, undefined);
    return verify(context.clock.now());
  }
  if (unverified) return undefined;
  const { clock, vendors } = context;
  const verification: VerifyOptions = {
    snpAnchors: AMD_ROOTS,
    tdxAnchors: INTEL_ROOTS,
    now: () => clock.now(),
    highWater: clock.highWater,
    vendors,
  };
  if (isSnp) {
    const evidence: Evidence = await completeEvidence({ kind: "snp", report: bytes, certificates: [] }, vendors);
    return verifyEvidence({ evidence, reportData: parseSnpReport(bytes).reportData }, verification);
  }
  const { reportData } = parseTdxQuote(bytes).body;
  return verifyEvidence({ evidence: { kind: "tdx", quote: bytes }, reportData }, verification);
}

function contradiction(): CliError {
  const message = "the report is either verified or not";
  return new CliError("usage", message, { got: "--unverified with certificates or lists", want: "one of both" });
}
