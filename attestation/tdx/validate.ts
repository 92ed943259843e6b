import { EvidenceError } from "../error.ts";
import type { TdBody } from "./body.ts";
import type { VerifiedTdxQuote } from "./verify.ts";

/** Compares a verified quote with reference values. All of them must hold. */

/** What a manifest says about one platform with TDX. */
export interface TdxReferenceValues {
  /** 48 bytes. */
  readonly mrTd: Buffer;
  /** 48 bytes. */
  readonly mrSeam: Buffer;
  /** RTMR 0 to 3, 48 bytes each. */
  readonly rtmrs: readonly Buffer[];
  /** 8 bytes. */
  readonly xfam: Buffer;
  /** 16 bytes, each a lower bound. */
  readonly minimumTeeTcbSvn: Buffer;
  /** Beside UpToDate, which always is. Intel's names: `SWHardeningNeeded`, `TDRelaunchAdvised`. */
  readonly allowedTcbStatuses?: readonly string[] | undefined;
  /** Whether the host may read the memory of the TD: for looking at test machines only. */
  readonly allowDebug?: boolean | undefined;
}

/** TDATTRIBUTES (Intel TDX Module Base Architecture Specification, §A.3.4): the group TUD, "TD under debug". */
const TUD = 0xffn;
const MIGRATABLE = 1n << 29n;

/** CET_U and CET_S of XFAM: they add protection, and the guest's kernel decides whether it uses them. */
const CET = 0x1800n;

/** @throws EvidenceError for the first reference value that does not hold */
export function validateTdx(verified: VerifiedTdxQuote, reference: TdxReferenceValues): void {
  const { body } = verified.quote;
  checkTcbStatus(verified, reference.allowedTcbStatuses ?? []);
  checkDebug(body, reference.allowDebug === true);
  checkMigratable(body);
  checkMeasurement("MRSEAM", "another TDX module than the manifest trusts", body.mrSeam, reference.mrSeam);
  checkMeasurement("MRTD", "the VM was launched with another image", body.mrTd, reference.mrTd);
  for (const [index, rtmr] of body.rtmrs.entries()) {
    checkMeasurement(`RTMR${index}`, "the VM has loaded something else", rtmr, reference.rtmrs[index]);
  }
  checkXfam(body, reference.xfam);
  checkMinimumTcb(body, reference.minimumTeeTcbSvn);
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

function checkMeasurement(where: string, message: string, got: Buffer, want: Buffer | undefined): void {
  if (want !== undefined && got.equals(want)) return;
  throw new EvidenceError("measurement_mismatch", message, {
    where,
    got: got.toString("hex"),
    want: want?.toString("hex") ?? "a reference value",
  });
}

function checkXfam({ xfam }: TdBody, reference: Buffer): void {
  if ((xfam.readBigUInt64LE() & ~CET) === (reference.readBigUInt64LE() & ~CET)) return;
  throw new EvidenceError("xfam_mismatch", "the VM was launched with other CPU features", {
    where: "XFAM",
    got: xfam.toString("hex"),
    want: `${reference.toString("hex")}, the CET bits aside`,
  });
}

function checkMinimumTcb({ teeTcbSvn }: TdBody, minimum: Buffer): void {
  const index = minimum.findIndex((bound, index) => (teeTcbSvn[index] ?? -1) < bound);
  if (index === -1) return;
  throw new EvidenceError("tcb_too_low", "the TDX module is older than the manifest allows", {
    where: `TEE_TCB_SVN[${index}]`,
    got: teeTcbSvn.toString("hex"),
    want: `at least ${minimum.toString("hex")}`,
    hint: "update the TDX module of the host",
  });
}
