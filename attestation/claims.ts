import { GUEST_POLICY, isSet } from "./snp/flags.ts";
import { describeTcb, parseTcb } from "./snp/tcb.ts";
import type { VerifiedSnpReport } from "./snp/verify.ts";

/** What verified evidence says, for logs and for the extensions of certificates. Byte strings are lower-case hex. */
export interface Claims {
  readonly tee: "snp";
  readonly product: string;
  readonly measurement: string;
  readonly hostData: string;
  readonly chipId: string;
  readonly reportedTcb: string;
  readonly vmpl: number;
  readonly debug: boolean;
  /** It comes from a software TEE and proves nothing about hardware. */
  readonly insecure: boolean;
}

export function claims({ report, product, root }: VerifiedSnpReport): Claims {
  return {
    tee: "snp",
    product,
    measurement: report.measurement.toString("hex"),
    hostData: report.hostData.toString("hex"),
    chipId: report.chipId.toString("hex"),
    reportedTcb: describeTcb(parseTcb(report.reportedTcb, product, "REPORTED_TCB")),
    vmpl: report.vmpl,
    debug: isSet(report.policy, GUEST_POLICY.Debug),
    insecure: root.insecure,
  };
}
