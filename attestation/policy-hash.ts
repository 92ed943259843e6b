import type { VerifiedSnpReport } from "./snp/verify.ts";

/** The hash of the pod's policy, which the host had to give at launch: HOST_DATA, 64 digits of lower-case hex. */
export function policyHash(verified: VerifiedSnpReport): string {
  return verified.report.hostData.toString("hex");
}
