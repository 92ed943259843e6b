import { EvidenceError } from "./error.ts";
import type { VerifiedSnpReport } from "./snp/verify.ts";
import type { VerifiedTdxQuote } from "./tdx/verify.ts";

const HASH_SIZE = 32;

/**
 * The hash of the pod's policy, which the host had to give at launch: HOST_DATA of SNP; MRCONFIGID of TDX, where zeros
 * follow it.
 *
 * @returns 64 digits of lower-case hex
 * @throws EvidenceError config_id_malformed
 */
export function policyHash(verified: VerifiedSnpReport | VerifiedTdxQuote): string {
  if (verified.kind === "snp") return verified.report.hostData.toString("hex");
  const { mrConfigId } = verified.quote.body;
  // What follows would say something that nobody compares.
  if (mrConfigId.subarray(HASH_SIZE).some((byte) => byte !== 0)) {
    throw new EvidenceError("config_id_malformed", "the VM was launched with something else than a policy hash", {
      where: "MRCONFIGID",
      got: mrConfigId.toString("hex"),
      want: "a hash of 32 bytes and 16 zero bytes",
    });
  }
  return mrConfigId.toString("hex", 0, HASH_SIZE);
}
