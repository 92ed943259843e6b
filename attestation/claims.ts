import { GUEST_POLICY, isSet } from "./snp/flags.ts";
import { describeTcb, parseTcb } from "./snp/tcb.ts";
import type { VerifiedSnpReport } from "./snp/verify.ts";
import { isDebug } from "./tdx/validate.ts";
import type { TcbStatus } from "./tdx/tcb.ts";
import type { VerifiedTdxQuote } from "./tdx/verify.ts";

/** What verified evidence says, for logs and for the extensions of certificates. Byte strings are lower-case hex. */
export interface SnpClaims {
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

function snpClaims({ report, product, root }: VerifiedSnpReport): SnpClaims {
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

/** As `SnpClaims`, of TDX. */
export interface TdxClaims {
  readonly tee: "tdx";
  readonly mrTd: string;
  readonly mrSeam: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
  readonly mrConfigId: string;
  readonly xfam: string;
  /** Which family of platforms, and which platform. */
  readonly fmspc: string;
  readonly ppid: string;
  readonly teeTcbSvn: string;
  readonly tcbStatus: TcbStatus;
  /** Intel's security advisories, separated by commas. */
  readonly advisories: string;
  readonly debug: boolean;
  /** There is no software TEE of this kind. */
  readonly insecure: false;
}

function tdxClaims({ quote, pck, tcbStatus, advisories }: VerifiedTdxQuote): TdxClaims {
  const { body } = quote;
  const [rtmr0 = "", rtmr1 = "", rtmr2 = "", rtmr3 = ""] = body.rtmrs.map((rtmr) => rtmr.toString("hex"));
  return {
    tee: "tdx",
    mrTd: body.mrTd.toString("hex"),
    mrSeam: body.mrSeam.toString("hex"),
    rtmr0,
    rtmr1,
    rtmr2,
    rtmr3,
    mrConfigId: body.mrConfigId.toString("hex"),
    xfam: body.xfam.toString("hex"),
    fmspc: pck.fmspc.toString("hex"),
    ppid: pck.ppid.toString("hex"),
    teeTcbSvn: body.teeTcbSvn.toString("hex"),
    tcbStatus,
    advisories: advisories.join(", "),
    debug: isDebug(body),
    insecure: false,
  };
}

export type Claims = SnpClaims | TdxClaims;

export function claims(verified: VerifiedSnpReport | VerifiedTdxQuote): Claims {
  return verified.kind === "snp" ? snpClaims(verified) : tdxClaims(verified);
}
