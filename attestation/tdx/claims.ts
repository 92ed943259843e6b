import { toHex } from "../../bytes/encode.ts";
import { flag, hex, hexOrNone, number, oneOf, text } from "../claim-forms.ts";
import type { ClaimExtensions } from "../claim-extensions.ts";
import { encodeTdAttributes } from "./attributes.ts";
import type { TdBody } from "./body.ts";
import type { EnclaveReport } from "./enclave-report.ts";
import { describeSgxType } from "./machine.ts";
import type { Pck } from "./pck.ts";
import { ALLOWABLE_TCB_STATUSES } from "./tcb-status.ts";
import type { TcbStatus } from "./tcb.ts";
import { isDebug } from "./validate.ts";
import type { VerifiedTdxQuote } from "./verify.ts";

/** What verified evidence says, for logs and for the extensions of certificates. Byte strings are lower-case hex. */
export interface TdxClaims extends TdClaims, EnclaveClaims, MachineClaims {
  readonly tee: "tdx";
  readonly teeTcbSvn: string;
  readonly tcbStatus: TcbStatus;
  /** Which of Intel's assessments the status comes from. */
  readonly tcbEvaluationDataNumber: number;
  /** Intel's security advisories, separated by commas. */
  readonly advisories: string;
  /** There is no software TEE of this kind. */
  readonly insecure: false;
  readonly quoteVersion: number;
  /** 20 bytes of the quoting enclave's, which have no meaning here. */
  readonly userData: string;
}

/** Of the TD and of the TDX module that launched it. What a quote of TDX 1.0 does not have is undefined. */
interface TdClaims {
  readonly mrTd: string;
  readonly mrSeam: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
  readonly mrConfigId: string;
  readonly xfam: string;
  /** TDATTRIBUTES lets the host read the memory of the TD. */
  readonly debug: boolean;
  readonly mrSignerSeam: string;
  readonly seamAttributes: string;
  readonly tdAttributes: string;
  readonly mrOwner: string;
  readonly mrOwnerConfig: string;
  readonly reportData: string;
  readonly teeTcbSvn2: string | undefined;
  readonly mrServiceTd: string | undefined;
}

/** Of the enclave that signed the quote. */
interface EnclaveClaims {
  readonly qeCpuSvn: string;
  readonly qeMiscSelect: string;
  readonly qeAttributes: string;
  readonly qeMrEnclave: string;
  readonly qeMrSigner: string;
  readonly qeIsvProdId: number;
  readonly qeIsvSvn: number;
}

/** Of the machine, by the certificate of its key. What that does not say is undefined. */
interface MachineClaims {
  /** Which family of platforms, which CPU package, and which machine; the last is empty where Intel's CA names none. */
  readonly fmspc: string;
  readonly ppid: string;
  readonly piid: string;
  readonly pceId: string;
  readonly pceSvn: number;
  readonly cpuSvn: string;
  /** The 16 SVNs of the platform's TCB, one byte each. */
  readonly tcbComponents: string;
  readonly sgxType: string;
  readonly dynamicPlatform: boolean | undefined;
  readonly cachedKeys: boolean | undefined;
  readonly smtEnabled: boolean | undefined;
}

export function tdxClaims(verified: VerifiedTdxQuote): TdxClaims {
  const { quote, pck, tcbStatus, tcbEvaluationDataNumber, advisories } = verified;
  const { body, qeReport } = quote;
  return {
    tee: "tdx",
    ...tdClaims(body),
    ...machineClaims(pck),
    teeTcbSvn: toHex(body.teeTcbSvn),
    tcbStatus,
    tcbEvaluationDataNumber,
    advisories: advisories.join(", "),
    insecure: false,
    quoteVersion: quote.version,
    userData: toHex(quote.userData),
    ...enclaveClaims(qeReport),
  };
}

function tdClaims(body: TdBody): TdClaims {
  const { tdx15 } = body;
  const [rtmr0 = "", rtmr1 = "", rtmr2 = "", rtmr3 = ""] = body.rtmrs.map(toHex);
  return {
    mrTd: toHex(body.mrTd),
    mrSeam: toHex(body.mrSeam),
    rtmr0,
    rtmr1,
    rtmr2,
    rtmr3,
    mrConfigId: toHex(body.mrConfigId),
    xfam: toHex(body.xfam),
    debug: isDebug(body),
    mrSignerSeam: toHex(body.mrSignerSeam),
    seamAttributes: toHex(body.seamAttributes),
    tdAttributes: toHex(encodeTdAttributes(body.tdAttributes)),
    mrOwner: toHex(body.mrOwner),
    mrOwnerConfig: toHex(body.mrOwnerConfig),
    reportData: toHex(body.reportData),
    teeTcbSvn2: tdx15 && toHex(tdx15.teeTcbSvn2),
    mrServiceTd: tdx15 && toHex(tdx15.mrServiceTd),
  };
}

function enclaveClaims(report: EnclaveReport): EnclaveClaims {
  return {
    qeCpuSvn: toHex(report.cpuSvn),
    qeMiscSelect: toHex(report.miscSelect),
    qeAttributes: toHex(report.attributes),
    qeMrEnclave: toHex(report.mrEnclave),
    qeMrSigner: toHex(report.mrSigner),
    qeIsvProdId: report.isvProdId,
    qeIsvSvn: report.isvSvn,
  };
}

function machineClaims(pck: Pck): MachineClaims {
  return {
    fmspc: toHex(pck.fmspc),
    ppid: toHex(pck.ppid),
    piid: pck.piid === undefined ? "" : toHex(pck.piid),
    pceId: toHex(pck.pceId),
    pceSvn: pck.pceSvn,
    cpuSvn: toHex(pck.cpuSvn),
    tcbComponents: toHex(Uint8Array.from(pck.components)),
    sgxType: describeSgxType(pck),
    dynamicPlatform: pck.configuration?.dynamicPlatform,
    cachedKeys: pck.configuration?.cachedKeys,
    smtEnabled: pck.configuration?.smtEnabled,
  };
}

const signedNumber = number("hardware", 0xffff);
const signedHex = (length: number) => hex("hardware", length);
const certifiedFlag = flag("vendor");
const certifiedHex = (length: number) => hex("vendor", length);

export const TDX_CLAIM_EXTENSIONS: ClaimExtensions<TdxClaims> = {
  arc: "1.3.9901.2.2",
  forms: {
    tee: oneOf("verifier", ["tdx"]),
    mrTd: signedHex(48),
    mrSeam: signedHex(48),
    mrConfigId: signedHex(48),
    rtmr0: signedHex(48),
    rtmr1: signedHex(48),
    rtmr2: signedHex(48),
    rtmr3: signedHex(48),
    xfam: signedHex(8),
    fmspc: certifiedHex(6),
    ppid: certifiedHex(16),
    teeTcbSvn: signedHex(16),
    tcbStatus: oneOf("vendor", ["UpToDate", ...ALLOWABLE_TCB_STATUSES]),
    // 40 of `INTEL-SA-01234, `; the longest list that Intel has for a platform so far has about 20.
    advisories: text("vendor", 40 * 16),
    debug: flag("hardware"),
    insecure: { ...flag("verifier"), read: (text) => (text === "false" ? false : undefined) },
    piid: hexOrNone("vendor", 16),
    tcbEvaluationDataNumber: number("vendor", Number.MAX_SAFE_INTEGER),
    quoteVersion: signedNumber,
    userData: signedHex(20),
    mrSignerSeam: signedHex(48),
    seamAttributes: signedHex(8),
    tdAttributes: signedHex(8),
    mrOwner: signedHex(48),
    mrOwnerConfig: signedHex(48),
    reportData: signedHex(64),
    teeTcbSvn2: signedHex(16),
    mrServiceTd: signedHex(48),
    qeCpuSvn: signedHex(16),
    qeMiscSelect: signedHex(4),
    qeAttributes: signedHex(16),
    qeMrEnclave: signedHex(32),
    qeMrSigner: signedHex(32),
    qeIsvProdId: signedNumber,
    qeIsvSvn: signedNumber,
    pceId: certifiedHex(2),
    pceSvn: number("vendor", 0xffff),
    cpuSvn: certifiedHex(16),
    tcbComponents: certifiedHex(16),
    sgxType: text("vendor", 24),
    dynamicPlatform: certifiedFlag,
    cachedKeys: certifiedFlag,
    smtEnabled: certifiedFlag,
  },
  brief: [
    "tee",
    "mrTd",
    "mrSeam",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "mrConfigId",
    "xfam",
    "fmspc",
    "ppid",
    "piid",
    "teeTcbSvn",
    "tcbStatus",
    "tcbEvaluationDataNumber",
    "advisories",
    "debug",
    "insecure",
  ],
};
