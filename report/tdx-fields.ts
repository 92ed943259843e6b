import { parsePemCertificates } from "../attestation/pem.ts";
import { encodeTdAttributes, TD_ATTRIBUTES } from "../attestation/tdx/attributes.ts";
import type { TdBody } from "../attestation/tdx/body.ts";
import type { EnclaveReport } from "../attestation/tdx/enclave-report.ts";
import { describeSgxType } from "../attestation/tdx/machine.ts";
import { parsePck, SGX_OID } from "../attestation/tdx/pck.ts";
import type { TdxQuote } from "../attestation/tdx/quote.ts";
import type { TdReport } from "../attestation/tdx/tdreport.ts";
import type { Certificate } from "../attestation/x509.ts";
import { Cursor } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import type { Fields } from "./print.ts";

/**
 * Quotes and TDREPORTs by Intel's names. Attributes and XFAM are bytes as they stand, which is how manifests have them;
 * the bits of TDATTRIBUTES are beside them.
 */

/** @throws EvidenceError malformed_certificate, certificate_algorithm */
export function describeTdxQuote(quote: TdxQuote): Fields {
  const chain = parsePemCertificates(quote.certificateChain, "PCK certificate chain");
  const pck = chain.find(({ extensions }) => extensions.has(SGX_OID.extensions));
  return {
    VERSION: quote.version,
    // The parser takes no others: ECDSA P-256, TDX, and Intel's quoting enclave.
    ATTESTATION_KEY_TYPE: new Cursor(quote.raw, 2).u16le("ATTESTATION_KEY_TYPE"),
    TEE_TYPE: new Cursor(quote.raw, 4).u32le("TEE_TYPE"),
    QE_VENDOR_ID: toHex(quote.raw.subarray(12, 28)),
    USER_DATA: toHex(quote.userData),
    BODY_TYPE: quote.version === 4 ? undefined : new Cursor(quote.raw, 48).u16le("BODY_TYPE"),
    ...describeBody(quote.body),
    SIGNATURE: toHex(quote.signature),
    ATTESTATION_KEY: toHex(quote.attestationKey),
    QE_REPORT: describeEnclaveReport(quote.qeReport),
    QE_REPORT_SIGNATURE: toHex(quote.qeReportSignature),
    QE_AUTHENTICATION_DATA: toHex(quote.authData),
    PCK_CERTIFICATE_CHAIN: chain.map(describeCertificate),
    PCK: pck && describePck(pck),
    PADDING: quote.padding,
  };
}

/** @param bytes of the report, for the hashes that the parser has compared */
export function describeTdReport(report: TdReport, bytes: Uint8Array): Fields {
  return {
    VERSION: report.version,
    CPUSVN: toHex(report.cpuSvn),
    TEE_TCB_INFO_HASH: toHex(bytes.subarray(0x20, 0x50)),
    TEE_INFO_HASH: toHex(bytes.subarray(0x50, 0x80)),
    REPORTDATA: toHex(report.reportData),
    MAC: toHex(report.mac),
    VALID: `0x${report.valid.toString(16)}`,
    TEE_TCB_SVN: toHex(report.teeTcbSvn),
    MRSEAM: toHex(report.mrSeam),
    MRSIGNERSEAM: toHex(report.mrSignerSeam),
    SEAMATTRIBUTES: toHex(report.seamAttributes),
    TEE_TCB_SVN2: toHex(report.teeTcbSvn2),
    ...describeAttributes(report.tdAttributes),
    XFAM: toHex(report.xfam),
    MRTD: toHex(report.mrTd),
    MRCONFIGID: toHex(report.mrConfigId),
    MROWNER: toHex(report.mrOwner),
    MROWNERCONFIG: toHex(report.mrOwnerConfig),
    ...describeRtmrs(report.rtmrs),
    SERVTD_HASH: toHex(report.servTdHash),
  };
}

function describeBody(body: TdBody): Fields {
  return {
    TEE_TCB_SVN: toHex(body.teeTcbSvn),
    MRSEAM: toHex(body.mrSeam),
    MRSIGNERSEAM: toHex(body.mrSignerSeam),
    SEAMATTRIBUTES: toHex(body.seamAttributes),
    ...describeAttributes(body.tdAttributes),
    XFAM: toHex(body.xfam),
    MRTD: toHex(body.mrTd),
    MRCONFIGID: toHex(body.mrConfigId),
    MROWNER: toHex(body.mrOwner),
    MROWNERCONFIG: toHex(body.mrOwnerConfig),
    ...describeRtmrs(body.rtmrs),
    REPORTDATA: toHex(body.reportData),
    TEE_TCB_SVN2: body.tdx15 && toHex(body.tdx15.teeTcbSvn2),
    MRSERVICETD: body.tdx15 && toHex(body.tdx15.mrServiceTd),
  };
}

function describeAttributes(attributes: bigint): Fields {
  const bytes = encodeTdAttributes(attributes);
  const bits = Object.entries(TD_ATTRIBUTES).map(([name, bit]) => [name, (attributes & (1n << bit)) !== 0n] as const);
  return { TDATTRIBUTES: toHex(bytes), TDATTRIBUTES_BITS: Object.fromEntries(bits) };
}

function describeRtmrs(rtmrs: readonly Uint8Array[]): Fields {
  return Object.fromEntries(rtmrs.map((rtmr, index) => [`RTMR${index}`, toHex(rtmr)]));
}

function describeEnclaveReport(report: EnclaveReport): Fields {
  return {
    CPUSVN: toHex(report.cpuSvn),
    MISCSELECT: toHex(report.miscSelect),
    ISVEXTPRODID: toHex(report.isvExtProdId),
    ATTRIBUTES: toHex(report.attributes),
    MRENCLAVE: toHex(report.mrEnclave),
    MRSIGNER: toHex(report.mrSigner),
    CONFIGID: toHex(report.configId),
    ISVPRODID: report.isvProdId,
    ISVSVN: report.isvSvn,
    CONFIGSVN: report.configSvn,
    ISVFAMILYID: toHex(report.isvFamilyId),
    REPORTDATA: toHex(report.reportData),
  };
}

function describeCertificate({ commonName, serial, notBefore, notAfter }: Certificate): Fields {
  return {
    SUBJECT: commonName,
    SERIAL: toHex(serial),
    NOT_BEFORE: notBefore.toISOString(),
    NOT_AFTER: notAfter.toISOString(),
  };
}

function describePck(certificate: Certificate): Fields {
  const pck = parsePck(certificate);
  return {
    PPID: toHex(pck.ppid),
    SGX_TCB_COMPONENT_SVNS: pck.components,
    PCESVN: pck.pceSvn,
    CPUSVN: toHex(pck.cpuSvn),
    PCEID: toHex(pck.pceId),
    FMSPC: toHex(pck.fmspc),
    SGX_TYPE: describeSgxType(pck),
    PIID: pck.piid && toHex(pck.piid),
    CONFIGURATION: pck.configuration && {
      DYNAMIC_PLATFORM: pck.configuration.dynamicPlatform,
      CACHED_KEYS: pck.configuration.cachedKeys,
      SMT_ENABLED: pck.configuration.smtEnabled,
    },
  };
}
