import type { Cursor } from "../../bytes/cursor.ts";
import { concat } from "../../bytes/encode.ts";
import { u16le } from "../../bytes/numbers.ts";

/**
 * REPORTBODY of SGX (Intel SDM volume 3D, EREPORT): what the CPU says about the quoting enclave. All of its bytes are
 * signed; the reserved ones must be zero.
 */
export interface EnclaveReport {
  readonly cpuSvn: Uint8Array;
  /** 4 bytes. */
  readonly miscSelect: Uint8Array;
  readonly isvExtProdId: Uint8Array;
  /** 16 bytes: flags and XFRM. */
  readonly attributes: Uint8Array;
  /** 32 bytes. */
  readonly mrEnclave: Uint8Array;
  /** 32 bytes. */
  readonly mrSigner: Uint8Array;
  readonly configId: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly configSvn: number;
  readonly isvFamilyId: Uint8Array;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
}

export const ENCLAVE_REPORT_SIZE = 384;

export function readEnclaveReport(report: Cursor): EnclaveReport {
  const cpuSvn = report.bytes(16, "QE CPUSVN");
  const miscSelect = report.bytes(4, "QE MISCSELECT");
  report.zeros(12, "QE reserved");
  const isvExtProdId = report.bytes(16, "QE ISVEXTPRODID");
  const attributes = report.bytes(16, "QE ATTRIBUTES");
  const mrEnclave = report.bytes(32, "QE MRENCLAVE");
  report.zeros(32, "QE reserved");
  const mrSigner = report.bytes(32, "QE MRSIGNER");
  report.zeros(32, "QE reserved");
  const configId = report.bytes(64, "QE CONFIGID");
  const isvProdId = report.u16le("QE ISVPRODID");
  const isvSvn = report.u16le("QE ISVSVN");
  const configSvn = report.u16le("QE CONFIGSVN");
  report.zeros(42, "QE reserved");
  const isvFamilyId = report.bytes(16, "QE ISVFAMILYID");
  const reportData = report.bytes(64, "QE REPORTDATA");
  return {
    cpuSvn,
    miscSelect,
    isvExtProdId,
    attributes,
    mrEnclave,
    mrSigner,
    configId,
    isvProdId,
    isvSvn,
    configSvn,
    isvFamilyId,
    reportData,
  };
}

/** The inverse of `readEnclaveReport`. */
export function encodeEnclaveReport(report: EnclaveReport): Uint8Array {
  const encoded = concat(
    report.cpuSvn,
    report.miscSelect,
    new Uint8Array(12),
    report.isvExtProdId,
    report.attributes,
    report.mrEnclave,
    new Uint8Array(32),
    report.mrSigner,
    new Uint8Array(32),
    report.configId,
    u16le(report.isvProdId),
    u16le(report.isvSvn),
    u16le(report.configSvn),
    new Uint8Array(42),
    report.isvFamilyId,
    report.reportData,
  );
  if (encoded.length !== ENCLAVE_REPORT_SIZE) throw new RangeError(`got ${encoded.length} bytes, want 384`);
  return encoded;
}
