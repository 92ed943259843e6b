import type { ClaimExtensions } from "../claim-extensions.ts";
import type { TcbStatus } from "./tcb.ts";
import { isDebug } from "./validate.ts";
import type { VerifiedTdxQuote } from "./verify.ts";

/** What verified evidence says, for logs and for the extensions of certificates. Byte strings are lower-case hex. */
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
  /** Which family of platforms, which CPU package, and which machine; the last is empty where Intel's CA names none. */
  readonly fmspc: string;
  readonly ppid: string;
  readonly piid: string;
  readonly teeTcbSvn: string;
  readonly tcbStatus: TcbStatus;
  /** Which of Intel's assessments the status comes from. */
  readonly tcbEvaluationDataNumber: number;
  /** Intel's security advisories, separated by commas. */
  readonly advisories: string;
  readonly debug: boolean;
  /** There is no software TEE of this kind. */
  readonly insecure: false;
}

export function tdxClaims(verified: VerifiedTdxQuote): TdxClaims {
  const { quote, pck, tcbStatus, tcbEvaluationDataNumber, advisories } = verified;
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
    piid: pck.piid?.toString("hex") ?? "",
    teeTcbSvn: body.teeTcbSvn.toString("hex"),
    tcbStatus,
    tcbEvaluationDataNumber,
    advisories: advisories.join(", "),
    debug: isDebug(body),
    insecure: false,
  };
}

export const TDX_CLAIM_EXTENSIONS: ClaimExtensions<TdxClaims> = {
  arc: "1.3.9901.2.2",
  names: [
    "tee",
    "mrTd",
    "mrSeam",
    "mrConfigId",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "xfam",
    "fmspc",
    "ppid",
    "teeTcbSvn",
    "tcbStatus",
    "advisories",
    "debug",
    "insecure",
    "piid",
    "tcbEvaluationDataNumber",
  ],
};
