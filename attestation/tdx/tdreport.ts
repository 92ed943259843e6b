import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { digest } from "../../crypto/node.ts";
import { refusing } from "../malformed.ts";
import { type ModuleFields, readModule, readTd, type TdFields } from "./body.ts";

/**
 * TDREPORT_STRUCT (Intel TDX Module Base Architecture Specification, §A.3): what a quoting enclave makes a quote of. Its
 * MAC has a key that never leaves the CPU, so it proves nothing to anybody else: it can be shown, never verified.
 */
export interface TdReport extends TcbInfo, TdInfo {
  /** 0, or 1 where there are service TDs. */
  readonly version: number;
  readonly cpuSvn: Uint8Array;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  readonly mac: Uint8Array;
}

interface TcbInfo extends ModuleFields {
  /** Which of these fields mean something, by bits. */
  readonly valid: bigint;
  /** Zero before TDX 1.5. */
  readonly teeTcbSvn2: Uint8Array;
}

interface TdInfo extends TdFields {
  /** Zero in version 0. */
  readonly servTdHash: Uint8Array;
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

function readTcbInfo(info: Cursor): TcbInfo {
  const valid = info.u64le("VALID");
  const fields = readModule(info);
  const teeTcbSvn2 = info.bytes(16, "TEE_TCB_SVN2");
  info.zeros(TEE_TCB_INFO_OFFSET + TEE_TCB_INFO_SIZE - info.offset, "TEE_TCB_INFO reserved");
  return { valid, ...fields, teeTcbSvn2 };
}

function readTdInfo(info: Cursor): TdInfo {
  const fields = readTd(info);
  const servTdHash = info.bytes(48, "SERVTD_HASH");
  info.zeros(TD_INFO_OFFSET + TD_INFO_SIZE - info.offset, "TDINFO reserved");
  return { ...fields, servTdHash };
}

function checkHash(field: string, offset: number, got: Uint8Array, covered: Uint8Array): void {
  const want = digest("sha384", covered);
  if (!isEqual(got, want)) throw new MalformedBytes(field, offset, toHex(got), toHex(want));
}
