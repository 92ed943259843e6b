import { isEqual, toHex } from "../../bytes/encode.ts";
import { littleEndian64 } from "../../bytes/numbers.ts";
import { EvidenceError } from "../error.ts";
import { DEFAULT_TD_ATTRIBUTES, encodeTdAttributes, MIGRATABLE, TUD } from "./attributes.ts";
import type { TdBody } from "./body.ts";
import { checkMachine } from "./machine.ts";
import type { VerifiedTdxQuote } from "./verify.ts";

/** Compares a verified quote with reference values. All of them must hold. */

/** What a manifest says about one platform with TDX. */
export interface TdxReferenceValues {
  /** 48 bytes. */
  readonly mrTd: Uint8Array;
  /** 48 bytes. */
  readonly mrSeam: Uint8Array;
  /** RTMR 0 to 3, 48 bytes each. */
  readonly rtmrs: readonly Uint8Array[];
  /** 8 bytes. */
  readonly xfam: Uint8Array;
  /** 8 bytes, without the group TUD and MIGRATABLE, which never pass. Where left out, `DEFAULT_TD_ATTRIBUTES`. */
  readonly tdAttributes?: Uint8Array | undefined;
  /** 48 bytes each. Where left out, they have to be zero. */
  readonly mrOwner?: Uint8Array | undefined;
  readonly mrOwnerConfig?: Uint8Array | undefined;
  /** 48 bytes. A quote that does not have it is refused where it is named; where left out, it has to be zero. */
  readonly mrServiceTd?: Uint8Array | undefined;
  /** 16 bytes, each a lower bound. */
  readonly minimumTeeTcbSvn: Uint8Array;
  /** Beside UpToDate, which always is. Intel's names: `SWHardeningNeeded`, `TDRelaunchAdvised`. */
  readonly allowedTcbStatuses?: readonly string[] | undefined;
  /** Of the collateral that the status comes from: what is older knows of fewer weaknesses. */
  readonly minimumTcbEvaluationDataNumber?: number | undefined;
  /** PIIDs of 16 bytes; an empty list allows every machine. */
  readonly allowedPiids?: readonly Uint8Array[] | undefined;
  /** The integrity of memory has to be kept by cryptography. */
  readonly memoryIntegrity?: boolean | undefined;
  /** SMT has to be off. */
  readonly smtDisabled?: boolean | undefined;
  /** Nobody may add CPU packages to the machine. */
  readonly staticPlatform?: boolean | undefined;
  /** Whether the host may read the memory of the TD: for looking at test machines only. */
  readonly allowDebug?: boolean | undefined;
}

/** CET_U and CET_S of XFAM: they add protection, and the guest's kernel decides whether it uses them. */
const CET = 0x1800n;

const ZERO = new Uint8Array(48);

/** @throws EvidenceError for the first reference value that does not hold */
export function validateTdx(verified: VerifiedTdxQuote, reference: TdxReferenceValues): void {
  const { body } = verified.quote;
  checkTcbStatus(verified, reference.allowedTcbStatuses ?? []);
  checkTcbEvaluation(verified, reference.minimumTcbEvaluationDataNumber);
  checkMachine(verified.pck, reference);
  checkDebug(body, reference.allowDebug === true);
  checkMigratable(body);
  checkTdAttributes(body, reference.tdAttributes ?? DEFAULT_TD_ATTRIBUTES);
  checkMeasurement("MRSEAM", "another TDX module than the manifest trusts", body.mrSeam, reference.mrSeam);
  checkMeasurement("MRTD", "the VM was launched with another image", body.mrTd, reference.mrTd);
  for (const [index, rtmr] of body.rtmrs.entries()) {
    checkMeasurement(`RTMR${index}`, "the VM has loaded something else", rtmr, reference.rtmrs[index]);
  }
  checkServiceTd(body, reference.mrServiceTd);
  checkOwner("MROWNER", body.mrOwner, reference.mrOwner);
  checkOwner("MROWNERCONFIG", body.mrOwnerConfig, reference.mrOwnerConfig);
  checkXfam(body, reference.xfam);
  checkMinimumTcb("TEE_TCB_SVN", body.teeTcbSvn, reference.minimumTeeTcbSvn);
  if (body.tdx15 !== undefined) {
    checkMinimumTcb("TEE_TCB_SVN2", body.tdx15.teeTcbSvn2, reference.minimumTeeTcbSvn);
  }
}

/**
 * @param allowed beside UpToDate
 * @throws EvidenceError tcb_status
 */
export function checkTcbStatus({ tcbStatus, advisories }: VerifiedTdxQuote, allowed: readonly string[]): void {
  if (tcbStatus === "UpToDate" || allowed.includes(tcbStatus)) return;
  throw new EvidenceError("tcb_status", "Intel knows weaknesses of this platform", {
    where: "TCB status",
    got: [tcbStatus, ...advisories].join(", "),
    want: ["UpToDate", ...allowed].join(" or "),
    hint: "update or configure the host",
  });
}

/** Collateral is valid for a month, and Intel keeps the assessment before on offer for a year: the host may choose. */
function checkTcbEvaluation({ tcbEvaluationDataNumber }: VerifiedTdxQuote, minimum: number | undefined): void {
  if (minimum === undefined || tcbEvaluationDataNumber >= minimum) return;
  throw new EvidenceError("tcb_evaluation_too_old", "the platform was judged by an older assessment of Intel's", {
    where: "tcbEvaluationDataNumber",
    got: `${tcbEvaluationDataNumber}`,
    want: `at least ${minimum}`,
    hint: "fetch the TCB info and QE identity anew",
  });
}

/** With one of these bits the host can read the memory of the TD, or what runs in it can be profiled. */
export function isDebug({ tdAttributes }: TdBody): boolean {
  return (tdAttributes & TUD) !== 0n;
}

/** @throws EvidenceError debug_allowed */
export function checkDebug(body: TdBody, allowed: boolean): void {
  if (!isDebug(body) || allowed) return;
  throw new EvidenceError("debug_allowed", "the host may debug this VM", {
    where: "TDATTRIBUTES.TUD",
    got: `0x${(body.tdAttributes & TUD).toString(16)}`,
    want: "0",
    hint: "launch the VM without the debug attribute",
  });
}

/** Nothing in the manifest speaks for the other host. */
function checkMigratable({ tdAttributes }: TdBody): void {
  if ((tdAttributes & MIGRATABLE) === 0n) return;
  throw new EvidenceError("guest_policy_mismatch", "the host may move this VM to another platform", {
    where: "TDATTRIBUTES.MIGRATABLE",
    got: "1",
    want: "0",
  });
}

/** The group TUD was looked at before. */
function checkTdAttributes({ tdAttributes }: TdBody, reference: Uint8Array): void {
  if (isEqual(encodeTdAttributes(tdAttributes & ~TUD), reference)) return;
  throw new EvidenceError("td_attributes_mismatch", "the VM was launched with other attributes", {
    where: "TDATTRIBUTES",
    got: toHex(encodeTdAttributes(tdAttributes)),
    want: toHex(reference),
  });
}

function checkMeasurement(where: string, message: string, got: Uint8Array, want: Uint8Array | undefined): void {
  if (want !== undefined && isEqual(got, want)) return;
  throw new EvidenceError("measurement_mismatch", message, {
    where,
    got: toHex(got),
    want: want === undefined ? "a reference value" : toHex(want),
  });
}

/**
 * A service TD, such as one that migrates, is told the TD's secrets. A quote of TDX 1.0 has no such field: there is
 * nothing but MIGRATABLE to look at, and a value that is named can't be compared.
 */
function checkServiceTd({ tdx15 }: TdBody, reference: Uint8Array | undefined): void {
  if (tdx15 === undefined && reference === undefined) return;
  if (tdx15 !== undefined && isEqual(tdx15.mrServiceTd, reference ?? ZERO)) return;
  throw new EvidenceError("service_td_mismatch", "another service TD is bound to the VM than the manifest trusts", {
    where: "MRSERVICETD",
    got: tdx15 === undefined ? "none in a quote of TDX 1.0" : toHex(tdx15.mrServiceTd),
    want: toHex(reference ?? ZERO),
  });
}

/** Software in the TD may take them for its configuration, and nothing else in the manifest speaks of them. */
function checkOwner(where: "MROWNER" | "MROWNERCONFIG", got: Uint8Array, reference: Uint8Array = ZERO): void {
  if (isEqual(got, reference)) return;
  throw new EvidenceError("td_owner_mismatch", "the VM was launched for another owner than the manifest names", {
    where,
    got: toHex(got),
    want: toHex(reference),
  });
}

function checkXfam({ xfam }: TdBody, reference: Uint8Array): void {
  if ((littleEndian64(xfam) & ~CET) === (littleEndian64(reference) & ~CET)) return;
  throw new EvidenceError("xfam_mismatch", "the VM was launched with other CPU features", {
    where: "XFAM",
    got: toHex(xfam),
    want: `${toHex(reference)}, the CET bits aside`,
  });
}

/** Both: the module that launched the TD, and in TDX 1.5 the one that runs now. */
function checkMinimumTcb(field: string, svn: Uint8Array, minimum: Uint8Array): void {
  const index = minimum.findIndex((bound, index) => (svn[index] ?? -1) < bound);
  if (index === -1) return;
  throw new EvidenceError("tcb_too_low", "the TDX module is older than the manifest allows", {
    where: `${field}[${index}]`,
    got: toHex(svn),
    want: `at least ${toHex(minimum)}`,
    hint: "update the TDX module of the host",
  });
}
