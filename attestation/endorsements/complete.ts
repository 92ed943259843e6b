import type { Evidence } from "../evidence.ts";
import { completeSnpEvidence } from "./amd.ts";
import type { EndorsementCache } from "./cache.ts";
import { EndorsementError } from "./error.ts";
import { fetchTdxCollateral } from "./intel.ts";

/**
 * Adds what a verifier needs and the sender did not send along. Nothing of it is trusted for where it came from: what is
 * wrong with it, `verifySnp` and `verifyTdx` say.
 *
 * What the vendor says goes before what the sender says it said: that may be older, and still valid. Where the vendor
 * can't be asked, the sender's will do.
 *
 * @throws EndorsementError; EvidenceError where the evidence does not say what to ask for
 */
export async function completeEvidence(evidence: Evidence, cache: EndorsementCache): Promise<Evidence> {
  try {
    if (evidence.kind === "tdx") return { ...evidence, collateral: await fetchTdxCollateral(evidence, cache) };
    const { evidence: whole, crl } = await completeSnpEvidence(evidence, cache);
    return { ...whole, crl };
  } catch (error) {
    const brought = evidence.kind === "tdx" ? evidence.collateral : evidence.crl;
    if (error instanceof EndorsementError && error.code === "vendor_unreachable" && brought !== undefined)
      return evidence;
    throw error;
  }
}
