import { briefClaims } from "../../attestation/claims.ts";
import { EvidenceError } from "../../attestation/error.ts";
import { checkReportData } from "../../attestation/report-data.ts";
import { checkDebug } from "../../attestation/snp/validate.ts";
import { checkDebug as checkTdxDebug, checkTcbStatus } from "../../attestation/tdx/validate.ts";
import type { VerifiedEvidence } from "../../attestation/tee.ts";
import type { SnpProduct } from "../../attestation/snp/product.ts";
import { matchReferenceValues, policyOf } from "../../manifest/appraise.ts";
import { type Manifest, parseManifest } from "../../manifest/manifest.ts";
import { EXIT } from "../../runtime/exit.ts";
import type { Context } from "../context.ts";
import { requireInsecureFlag } from "../coordinator.ts";
import { readInput } from "../workspace/workspace.ts";
import { readEvidence } from "./evidence.ts";
import { render } from "../../report/print.ts";
import { relax } from "./relax.ts";
import { type EvidenceOptions, readRequest } from "./request.ts";
import { accepted, refused, type Verdict } from "./verdict.ts";

/**
 * `contrast evidence verify`: the offline verifier. Everything comes from files, nothing from the network, and the time
 * may be chosen. Prints the verdict, also that of a refusal.
 *
 * @returns the exit code
 * @throws CliError, ManifestError on wrong use
 */
export async function verifyEvidence(context: Context, options: EvidenceOptions): Promise<number> {
  const verdict = await judge(context, options);
  const { claims } = verdict;
  const shown = claims && (context.format === "json" ? { ...claims } : briefClaims(claims));
  context.out(render({ ...verdict, claims: shown }, context.format));
  return verdict.verified ? EXIT.done : EXIT.refused;
}

async function judge(context: Context, options: EvidenceOptions): Promise<Verdict> {
  const request = readRequest(options);
  const manifest =
    options.manifest === undefined ? undefined : parseManifest(await readInput(options.manifest, "the manifest"));
  const anchored = options.trustAnchor !== undefined;
  const warnings =
    request.kind === "snp" && options.crl === undefined ? ["without --crl, revocation is not checked"] : [];
  let verified: VerifiedEvidence | undefined;
  try {
    const verify = await readEvidence(request, options, manifest);
    if (manifest !== undefined) requireInsecureFlag(context, manifest);
    verified = verify(options.at ?? context.clock.now(manifest));
    validate(verified, options, manifest);
    return accepted({ verified, anchored, warnings });
  } catch (error) {
    const verdict = refused(error, { verified, anchored, warnings });
    if (verdict === undefined) throw error;
    return verdict;
  }
}

/** @throws EvidenceError, Refusal */
function validate(verified: VerifiedEvidence, options: EvidenceOptions, manifest: Manifest | undefined): void {
  const { product, reportData, allowDebug = false, allowTcbStatus = [] } = options;
  if (reportData !== undefined) checkReportData(verified, reportData);
  switch (verified.kind) {
    case "snp":
      if (product !== undefined) checkProduct(verified.product, product);
      checkDebug(verified.report, allowDebug);
      break;
    case "tdx": {
      checkTdxDebug(verified.quote.body, allowDebug);
      // Which set of reference values allows the status is looked at below, with everything else of that set.
      const tdx = manifest?.referenceValues.tdx ?? [];
      const byManifest = tdx.flatMap(({ allowedTcbStatuses = [] }) => allowedTcbStatuses);
      checkTcbStatus(verified, [...allowTcbStatus, ...byManifest]);
      break;
    }
    default:
      verified satisfies never;
  }
  if (manifest === undefined) return;
  matchReferenceValues(verified, relax(manifest, options));
  policyOf(verified, manifest);
}

function checkProduct(got: SnpProduct, want: SnpProduct): void {
  if (got === want) return;
  throw new EvidenceError("product_mismatch", "the certificate is of another product than --product names", {
    where: "productName",
    got,
    want,
  });
}
