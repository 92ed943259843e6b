import { createHash } from "node:crypto";
import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { refusing } from "../x509.ts";

/**
 * TDREPORT_STRUCT (Intel TDX Module Base Architecture Specification, §A.3): what a quoting enclave makes a quote of. Its
 * MAC has a key that never leaves the CPU, so it proves nothing to anybody else: it can be shown, never verified.
 */
export interface TdReport {
  /** 0, or 1 where there are service TDs. */
  readonly version: number;
  readonly cpuSvn: Buffer;
  /** 64 bytes. */
  readonly reportData: Buffer;
  readonly mac: Buffer;
  /** Which of the fields of the TEE_TCB_INFO mean something, by bits. */
  readonly valid: bigint;
  readonly teeTcbSvn: Buffer;
  readonly mrSeam: Buffer;
  readonly mrSignerSeam: Buffer;
  readonly seamAttributes: Buffer;
  /** Zero before TDX 1.5. */
  readonly teeTcbSvn2: Buffer;
  readonly tdAttributes: bigint;
  readonly xfam: Buffer;
  readonly mrTd: Buffer;
  readonly mrConfigId: Buffer;
  readonly mrOwner: Buffer;
  readonly mrOwnerConfig: Buffer;
  /** RTMR 0 to 3. */
  readonly rtmrs: readonly Buffer[];
  /** Zero in version 0. */
  readonly servTdHash: Buffer;
}

const TEE_TCB_INFO_OFFSET = 0x100;
const TEE_TCB_INFO_SIZE = 239;
const TD_INFO_OFFSET = 0x200;
const TD_INFO_SIZE = 512;
const TEE_TDX = 0x81;

/** @throws EvidenceError malformed_report, also where a hash in it is not that of the part it covers */
export function parseTdReport(bytes: Uint8Array): TdReport {
  return refusing("malformed_report", () => {
    const report = new Cursor(bytes);
    const version = readType(report);
    report.zeros(12, "REPORTMACSTRUCT reserved");
    const cpuSvn = report.bytes(16, "CPUSVN");
    const tcbInfoHash = report.bytes(48, "TEE_TCB_INFO_HASH");
    const tdInfoHash = report.bytes(48, "TEE_INFO_HASH");
    const reportData = report.bytes(64, "REPORTDATA");
    report.zeros(32, "REPORTMACSTRUCT reserved");
    const mac = report.bytes(32, "MAC");
    const tcbInfo = report.bytes(TEE_TCB_INFO_SIZE, "TEE_TCB_INFO");
    checkHash("TEE_TCB_INFO_HASH", 0x20, tcbInfoHash, tcbInfo);
    report.zeros(17, "reserved");
    const tdInfo = report.bytes(TD_INFO_SIZE, "TDINFO");
    checkHash("TEE_INFO_HASH", 0x50, tdInfoHash, tdInfo);
    report.end("TDREPORT");
    const tcbInfoFields = readTcbInfo(new Cursor(bytes, TEE_TCB_INFO_OFFSET));
    const tdInfoFields = readTdInfo(new Cursor(bytes, TD_INFO_OFFSET));
    return { version, cpuSvn, reportData, mac, ...tcbInfoFields, ...tdInfoFields };
  });
}

/** REPORTTYPE: type, subtype, version, reserved. */
function readType(report: Cursor): number {
  const type = report.u8("REPORTTYPE type");
  if (type !== TEE_TDX) throw new MalformedBytes("REPORTTYPE type", 0, `0x${type.toString(16)}`, "0x81 (TDX)");
  report.zeros(1, "REPORTTYPE subtype");
  const version = report.u8("REPORTTYPE version");
  if (version > 1) throw new MalformedBytes("REPORTTYPE version", 2, `${version}`, "0 or 1");
  report.zeros(1, "REPORTTYPE reserved");
  return version;
}

type TcbInfoFields = "valid" | "teeTcbSvn" | "mrSeam" | "mrSignerSeam" | "seamAttributes" | "teeTcbSvn2";

function readTcbInfo(info: Cursor): Pick<TdReport, TcbInfoFields> {
  const valid = info.u64le("VALID");
  const teeTcbSvn = info.bytes(16, "TEE_TCB_SVN");
  const mrSeam = info.bytes(48, "MRSEAM");
  const mrSignerSeam = info.bytes(48, "MRSIGNERSEAM");
  const seamAttributes = info.bytes(8, "SEAMATTRIBUTES");
  const teeTcbSvn2 = info.bytes(16, "TEE_TCB_SVN2");
  info.zeros(TEE_TCB_INFO_OFFSET + TEE_TCB_INFO_SIZE - info.offset, "TEE_TCB_INFO reserved");
  return { valid, teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes, teeTcbSvn2 };
}

function readTdInfo(info: Cursor): Omit<TdReport, TcbInfoFields | "version" | "cpuSvn" | "reportData" | "mac"> {
  const tdAttributes = info.u64le("TDATTRIBUTES");
  const xfam = info.bytes(8, "XFAM");
  const mrTd = info.bytes(48, "MRTD");
  const mrConfigId = info.bytes(48, "MRCONFIGID");
  const mrOwner = info.bytes(48, "MROWNER");
  const mrOwnerConfig = info.bytes(48, "MROWNERCONFIG");
  const rtmrs = [0, 1, 2, 3].map((index) => info.bytes(48, `RTMR${index}`));
  const servTdHash = info.bytes(48, "SERVTD_HASH");
  info.zeros(TD_INFO_OFFSET + TD_INFO_SIZE - info.offset, "TDINFO reserved");
  return { tdAttributes, xfam, mrTd, mrConfigId, mrOwner, mrOwnerConfig, rtmrs, servTdHash };
}

function checkHash(field: string, offset: number, got: Buffer, covered: Buffer): void {
  const want = createHash("sha384").update(covered).digest();
  if (!got.equals(want)) throw new MalformedBytes(field, offset, got.toString("hex"), want.toString("hex"));
}
