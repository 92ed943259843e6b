import type { ClaimExtensions } from "../claim-extensions.ts";
import { GUEST_POLICY, isSet } from "./flags.ts";
import { describeTcb, parseTcb } from "./tcb.ts";
import type { VerifiedSnpReport } from "./verify.ts";

/** What verified evidence says, for logs and for the extensions of certificates. Byte strings are lower-case hex. */
export interface SnpClaims {
  readonly tee: "snp";
  readonly product: string;
  readonly measurement: string;
  readonly hostData: string;
  readonly chipId: string;
  readonly signingKey: "VCEK" | "VLEK";
  /** Of a VLEK, whose cloud's it is; empty for a VCEK. */
  readonly cspId: string;
  readonly reportedTcb: string;
  readonly vmpl: number;
  readonly debug: boolean;
  /** It comes from a software TEE and proves nothing about hardware. */
  readonly insecure: boolean;
}

export function snpClaims({ report, product, root, signingKey, cspId = "" }: VerifiedSnpReport): SnpClaims {
  return {
    tee: "snp",
    product,
    measurement: report.measurement.toString("hex"),
    hostData: report.hostData.toString("hex"),
    chipId: report.chipId.toString("hex"),
    signingKey: signingKey === "vcek" ? "VCEK" : "VLEK",
    cspId,
    reportedTcb: describeTcb(parseTcb(report.reportedTcb, product, "REPORTED_TCB")),
    vmpl: report.vmpl,
    debug: isSet(report.policy, GUEST_POLICY.Debug),
    insecure: root.simulated,
  };
}

export const SNP_CLAIM_EXTENSIONS: ClaimExtensions<SnpClaims> = {
  arc: "1.3.9901.2.1",
  names: [
    "tee",
    "product",
    "measurement",
    "hostData",
    "chipId",
    "reportedTcb",
    "vmpl",
    "debug",
    "insecure",
    "signingKey",
    "cspId",
  ],
};
