import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { concat, filledUp, isEqual, toHex } from "../../bytes/encode.ts";
import { hexBytes } from "../../bytes/hex.ts";
import { u16le, u32le } from "../../bytes/numbers.ts";
import { EvidenceError } from "../error.ts";
import { refusing } from "../malformed.ts";
import { encodeBody, readBody, type TdBody, TDX10_SIZE, TDX15_SIZE } from "./body.ts";
import { encodeEnclaveReport, type EnclaveReport, readEnclaveReport } from "./enclave-report.ts";

/**
 * Quotes of versions 4 and 5 (Intel TDX DCAP Quoting Library API, A.3 and A.4), all numbers little-endian.
 *
 * Every byte is accounted for: what parses, encodes to the same bytes again. Lengths must be exact, each within the one
 * around it. Zero bytes behind the quote are allowed: some clouds hand out a buffer of fixed size.
 */

/** What a quote says. */
export interface TdxQuoteFields {
  readonly version: 4 | 5;
  /** 20 bytes that the platform chose. */
  readonly userData: Uint8Array;
  readonly body: TdBody;
  /** ECDSA P-256 by the attestation key, r ‖ s, big-endian, 64 bytes. */
  readonly signature: Uint8Array;
  /** x ‖ y, big-endian, 64 bytes. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: EnclaveReport;
  /** ECDSA P-256 by the PCK, over the QE report. */
  readonly qeReportSignature: Uint8Array;
  /** QE authentication data: any bytes, up to 65535. */
  readonly authData: Uint8Array;
  /** The PCK certificate chain, PEM, as it stands in the quote. */
  readonly certificateChain: Uint8Array;
  /** How many zero bytes follow the quote. */
  readonly padding: number;
}

export interface TdxQuote extends TdxQuoteFields {
  readonly raw: Uint8Array;
  /** The bytes that the signature covers. */
  readonly signed: Uint8Array;
  /** The bytes that the QE report's signature covers. */
  readonly signedQeReport: Uint8Array;
}

const HEADER_SIZE = 48;
const ECDSA_P256 = 2;
const TEE_TDX = 0x81;
const INTEL_QE_VENDOR = hexBytes("939a7233f79c4ca9940a0db3957f0607");
const BODY_TDX10 = 2;
const BODY_TDX15 = 3;
/** Types of certification data. */
const QE_REPORT_CERTIFICATION = 6;
const PCK_CHAIN = 5;

/** @throws EvidenceError malformed_report, unsupported_report_version */
export function parseTdxQuote(bytes: Uint8Array): TdxQuote {
  return refusing("malformed_report", () => {
    const quote = new Cursor(bytes);
    const version = readVersion(quote);
    const userData = readHeader(quote);
    const body = readBody(quote, version === 4 ? "1.0" : readBodyVersion(quote));
    const signed = quote.since(0);
    const signatureData = readSized(quote, quote.u32le("signature data length"), "signature data", (data) => {
      const signature = data.bytes(64, "quote signature");
      const attestationKey = data.bytes(64, "attestation key");
      return { signature, attestationKey, ...readCertification(data) };
    });
    const padding = bytes.length - quote.offset;
    quote.zeros(padding, "bytes behind the quote");
    return { version, userData, body, ...signatureData, padding, raw: quote.since(0), signed };
  });
}

function readVersion(quote: Cursor): 4 | 5 {
  const version = quote.u16le("version");
  if (version === 4 || version === 5) return version;
  throw unsupported("version", version, "4 or 5");
}

function readHeader(quote: Cursor): Uint8Array {
  const keyType = quote.u16le("attestation key type");
  if (keyType !== ECDSA_P256) throw new MalformedBytes("attestation key type", 2, `${keyType}`, "2 (ECDSA P-256)");
  const teeType = quote.u32le("TEE type");
  if (teeType !== TEE_TDX) throw new MalformedBytes("TEE type", 4, `0x${teeType.toString(16)}`, "0x81 (TDX)");
  quote.zeros(4, "header reserved");
  const vendor = quote.bytes(16, "QE vendor ID");
  if (!isEqual(vendor, INTEL_QE_VENDOR)) {
    throw new MalformedBytes("QE vendor ID", 12, toHex(vendor), toHex(INTEL_QE_VENDOR));
  }
  return quote.bytes(20, "user data");
}

function readBodyVersion(quote: Cursor): "1.0" | "1.5" {
  const type = quote.u16le("body type");
  if (type !== BODY_TDX10 && type !== BODY_TDX15) {
    throw unsupported("body type", type, "2 (TDX 1.0) or 3 (TDX 1.5)");
  }
  const start = quote.offset;
  const size = quote.u32le("body size");
  const want = type === BODY_TDX10 ? TDX10_SIZE : TDX15_SIZE;
  if (size !== want) throw new MalformedBytes("body size", start, `${size}`, `${want}`);
  return type === BODY_TDX10 ? "1.0" : "1.5";
}

/** Certification data of type 6: the QE's report, and with type 5 inside it the chain of the key that signed it. */
function readCertification(
  data: Cursor,
): Pick<TdxQuote, "qeReport" | "signedQeReport" | "qeReportSignature" | "authData" | "certificateChain"> {
  const size = readCertificationType(data, QE_REPORT_CERTIFICATION, "6 (QE report)");
  return readSized(data, size, "QE certification data", (certification) => {
    const start = certification.offset;
    const qeReport = readEnclaveReport(certification);
    const signedQeReport = certification.since(start);
    const qeReportSignature = certification.bytes(64, "QE report signature");
    const authData = certification.bytes(certification.u16le("QE authentication data size"), "QE authentication data");
    const chainSize = readCertificationType(certification, PCK_CHAIN, "5 (PCK certificate chain)");
    const certificateChain = certification.bytes(chainSize, "PCK certificate chain");
    return { qeReport, signedQeReport, qeReportSignature, authData, certificateChain };
  });
}

/** @returns the size of the certification data */
function readCertificationType(data: Cursor, type: number, want: string): number {
  const start = data.offset;
  const got = data.u16le("certification data type");
  if (got !== type) throw new MalformedBytes("certification data type", start, `${got}`, want);
  return data.u32le("certification data size");
}

/** Reads what has a length of its own, which must be as long as what stands in it. */
function readSized<T>(outer: Cursor, size: number, field: string, read: (inner: Cursor) => T): T {
  const inner = outer.inner(size, field);
  const value = read(inner);
  inner.end(field);
  return value;
}

function unsupported(where: string, got: number, want: string): EvidenceError {
  const message = "a version of the quote that is not known";
  return new EvidenceError("unsupported_report_version", message, { where, got: `${got}`, want });
}

/** The inverse of `parseTdxQuote`. */
export function encodeTdxQuote(fields: TdxQuoteFields): Uint8Array {
  const certification = concat(
    encodeEnclaveReport(fields.qeReport),
    fields.qeReportSignature,
    u16le(fields.authData.length),
    fields.authData,
    encodeCertification(PCK_CHAIN, fields.certificateChain),
  );
  const signatureData = concat(
    fields.signature,
    fields.attestationKey,
    encodeCertification(QE_REPORT_CERTIFICATION, certification),
  );
  return concat(encodeSigned(fields), u32le(signatureData.length), signatureData, new Uint8Array(fields.padding));
}

/** Header and body: the bytes that the signature covers. */
export function encodeSigned({
  version,
  userData,
  body,
}: Pick<TdxQuoteFields, "version" | "userData" | "body">): Uint8Array {
  const encoded = encodeBody(body);
  const type = body.tdx15 === undefined ? BODY_TDX10 : BODY_TDX15;
  return concat(
    u16le(version),
    u16le(ECDSA_P256),
    u32le(TEE_TDX),
    new Uint8Array(4),
    INTEL_QE_VENDOR,
    filledUp(userData, HEADER_SIZE - 28),
    ...(version === 4 ? [] : [u16le(type), u32le(encoded.length)]),
    encoded,
  );
}

function encodeCertification(type: number, data: Uint8Array): Uint8Array {
  return concat(u16le(type), u32le(data.length), data);
}
