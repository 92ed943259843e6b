import { parsePemCertificates } from "../attestation/pem.ts";
import { encodeTdAttributes, TD_ATTRIBUTES } from "../attestation/tdx/attributes.ts";
import type { TdBody } from "../attestation/tdx/body.ts";
import type { EnclaveReport } from "../attestation/tdx/enclave-report.ts";
import { describeSgxType } from "../attestation/tdx/machine.ts";
import { parsePck, SGX_OID } from "../attestation/tdx/pck.ts";
import type { TdxQuote } from "../attestation/tdx/quote.ts";
import type { TdReport } from "../attestation/tdx/tdreport.ts";
import type { Certificate } from "../attestation/x509.ts";
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
    ATTESTATION_KEY_TYPE: quote.raw.readUInt16LE(2),
    TEE_TYPE: quote.raw.readUInt32LE(4),
    QE_VENDOR_ID: quote.raw.toString("hex", 12, 28),
    USER_DATA: quote.userData.toString("hex"),
    BODY_TYPE: quote.version === 4 ? undefined : quote.raw.readUInt16LE(48),
    ...describeBody(quote.body),
    SIGNATURE: quote.signature.toString("hex"),
    ATTESTATION_KEY: quote.attestationKey.toString("hex"),
    QE_REPORT: describeEnclaveReport(quote.qeReport),
    QE_REPORT_SIGNATURE: quote.qeReportSignature.toString("hex"),
    QE_AUTHENTICATION_DATA: quote.authData.toString("hex"),
    PCK_CERTIFICATE_CHAIN: chain.map(describeCertificate),
    PCK: pck && describePck(pck),
    PADDING: quote.padding,
  };
}

/** @param bytes of the report, for the hashes that the parser has compared */
export function describeTdReport(report: TdReport, bytes: Buffer): Fields {
  return {
    VERSION: report.version,
    CPUSVN: report.cpuSvn.toString("hex"),
    TEE_TCB_INFO_HASH: bytes.toString("hex", 0x20, 0x50),
    TEE_INFO_HASH: bytes.toString("hex", 0x50, 0x80),
    REPORTDATA: report.reportData.toString("hex"),
    MAC: report.mac.toString("hex"),
    VALID: `0x${report.valid.toString(16)}`,
    TEE_TCB_SVN: report.teeTcbSvn.toString("hex"),
    MRSEAM: report.mrSeam.toString("hex"),
    MRSIGNERSEAM: report.mrSignerSeam.toString("hex"),
    SEAMATTRIBUTES: report.seamAttributes.toString("hex"),
    TEE_TCB_SVN2: report.teeTcbSvn2.toString("hex"),
    ...describeAttributes(report.tdAttributes),
    XFAM: report.xfam.toString("hex"),
    MRTD: report.mrTd.toString("hex"),
    MRCONFIGID: report.mrConfigId.toString("hex"),
    MROWNER: report.mrOwner.toString("hex"),
    MROWNERCONFIG: report.mrOwnerConfig.toString("hex"),
    ...describeRtmrs(report.rtmrs),
    SERVTD_HASH: report.servTdHash.toString("hex"),
  };
}

function describeBody(body: TdBody): Fields {
  return {
    TEE_TCB_SVN: body.teeTcbSvn.toString("hex"),
    MRSEAM: body.mrSeam.toString("hex"),
    MRSIGNERSEAM: body.mrSignerSeam.toString("hex"),
    SEAMATTRIBUTES: body.seamAttributes.toString("hex"),
    ...describeAttributes(body.tdAttributes),
    XFAM: body.xfam.toString("hex"),
    MRTD: body.mrTd.toString("hex"),
    MRCONFIGID: body.mrConfigId.toString("hex"),
    MROWNER: body.mrOwner.toString("hex"),
    MROWNERCONFIG: body.mrOwnerConfig.toString("hex"),
    ...describeRtmrs(body.rtmrs),
    REPORTDATA: body.reportData.toString("hex"),
    TEE_TCB_SVN2: body.tdx15?.teeTcbSvn2.toString("hex"),
    MRSERVICETD: body.tdx15?.mrServiceTd.toString("hex"),
  };
}

function describeAttributes(attributes: bigint): Fields {
  const bytes = encodeTdAttributes(attributes);
  const bits = Object.entries(TD_ATTRIBUTES).map(([name, bit]) => [name, (attributes & (1n << bit)) !== 0n] as const);
  return { TDATTRIBUTES: bytes.toString("hex"), TDATTRIBUTES_BITS: Object.fromEntries(bits) };
}

function describeRtmrs(rtmrs: readonly Buffer[]): Fields {
  return Object.fromEntries(rtmrs.map((rtmr, index) => [`RTMR${index}`, rtmr.toString("hex")]));
}

function describeEnclaveReport(report: EnclaveReport): Fields {
  return {
    CPUSVN: report.cpuSvn.toString("hex"),
    MISCSELECT: report.miscSelect.toString("hex"),
    ISVEXTPRODID: report.isvExtProdId.toString("hex"),
    ATTRIBUTES: report.attributes.toString("hex"),
    MRENCLAVE: report.mrEnclave.toString("hex"),
    MRSIGNER: report.mrSigner.toString("hex"),
    CONFIGID: report.configId.toString("hex"),
    ISVPRODID: report.isvProdId,
    ISVSVN: report.isvSvn,
    CONFIGSVN: report.configSvn,
    ISVFAMILYID: report.isvFamilyId.toString("hex"),
    REPORTDATA: report.reportData.toString("hex"),
  };
}

function describeCertificate({ commonName, serial, notBefore, notAfter }: Certificate): Fields {
  return {
    SUBJECT: commonName,
    SERIAL: serial.toString("hex"),
    NOT_BEFORE: notBefore.toISOString(),
    NOT_AFTER: notAfter.toISOString(),
  };
}

function describePck(certificate: Certificate): Fields {
  const pck = parsePck(certificate);
  return {
    PPID: pck.ppid.toString("hex"),
    SGX_TCB_COMPONENT_SVNS: pck.components,
    PCESVN: pck.pceSvn,
    CPUSVN: pck.cpuSvn.toString("hex"),
    PCEID: pck.pceId.toString("hex"),
    FMSPC: pck.fmspc.toString("hex"),
    SGX_TYPE: describeSgxType(pck),
    PIID: pck.piid?.toString("hex"),
    CONFIGURATION: pck.configuration && {
      DYNAMIC_PLATFORM: pck.configuration.dynamicPlatform,
      CACHED_KEYS: pck.configuration.cachedKeys,
      SMT_ENABLED: pck.configuration.smtEnabled,
    },
  };
}
