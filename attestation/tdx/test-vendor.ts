import { createHash, type KeyObject, sign } from "node:crypto";
import { toBase64, toHex } from "../../bytes/encode.ts";
import {
  encodeBitString,
  encodeDer,
  encodeInteger,
  encodeOid,
  encodeSequence,
  encodeTime,
} from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../../pki/keys.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import {
  ARK_EXTENSIONS,
  type CertificateRequest,
  encodeName,
  encodeSigned,
  issueCertificate,
  type Signer,
} from "../simulated/certificates.ts";
import { type Extensions, OID } from "../x509.ts";
import type { TdBody } from "./body.ts";
import { ECDSA_SHA256 } from "./ecdsa.ts";
import { type EnclaveReport, encodeEnclaveReport } from "./enclave-report.ts";
import { SGX_OID, SGX_TYPES } from "./pck.ts";
import { encodeSigned as encodeSignedQuote, encodeTdxQuote, type TdxQuoteFields } from "./quote.ts";

/**
 * For tests: a vendor that keeps all its keys and does whatever it is asked to, so that evidence can be wrong in one
 * place and right in all others.
 */

/** The time at which its evidence is valid. */
export const NOW = new Date("2026-06-01T00:00:00Z");
const [EARLIER, LATER] = [new Date("2026-05-20T00:00:00Z"), new Date("2026-06-19T00:00:00Z")];

export interface TestVendor {
  readonly root: KeyPair;
  readonly ca: KeyPair;
  readonly pck: KeyPair;
  readonly signer: KeyPair;
  readonly attestation: KeyPair;
  readonly rootDigest: string;
}

export async function createTestVendor(): Promise<TestVendor> {
  const key = (): Promise<KeyPair> => generateEcKey("P-256");
  const [root, ca, pck, signer, attestation] = await Promise.all([key(), key(), key(), key(), key()]);
  return { root, ca, pck, signer, attestation, rootDigest: toHex(spkiDigest(root.publicKey)) };
}

/** A revocation list, where it differs from an empty one that is right. */
export interface List {
  readonly issuer?: string;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  readonly serials?: readonly number[];
  readonly signer?: Signer;
}

type Json = Readonly<Record<string, unknown>>;

/** What differs from evidence that is right. Changes of signed parts are made before they are signed. */
export interface Scenario {
  readonly version?: 4 | 5;
  readonly body?: Partial<TdBody>;
  readonly qeReport?: Partial<EnclaveReport>;
  readonly quote?: Partial<TdxQuoteFields>;
  readonly root?: Partial<CertificateRequest>;
  readonly rootSigner?: Signer;
  readonly ca?: Partial<CertificateRequest>;
  readonly caSigner?: Signer;
  readonly pck?: Partial<CertificateRequest>;
  readonly pckSigner?: Signer;
  readonly signer?: Partial<CertificateRequest>;
  readonly signerSigner?: Signer;
  readonly tcbInfo?: Json;
  readonly qeIdentity?: Json;
  readonly documentKey?: KeyObject;
  readonly rootCrl?: List;
  readonly pckCrl?: List;
  readonly collateral?: Partial<TdxCollateral>;
}

export const SERIALS = { root: 0x1001, ca: 0x1002, signer: 0x1003, pck: 0x2001 } as const;
export const COMPONENTS = [5, 5, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0] as const;
export const PCE_SVN = 300;
export const QE_ISV_SVN = 6;
export const TEE_TCB_SVN = svn(11, 1, 4);
export const PIID = Buffer.alloc(16, 0x22);

/** 16 bytes that begin with these. */
export function svn(...bytes: readonly number[]): Uint8Array {
  return Buffer.concat([Buffer.from(bytes)], 16);
}

export function intelSigner(key: KeyObject): Signer {
  return { algorithm: ECDSA_SHA256, sign: (tbs) => sign("sha256", tbs, key) };
}

export function makeEvidence(vendor: TestVendor, scenario: Scenario = {}): TdxEvidence {
  const chain = pem(rootOf(vendor, scenario), caOf(vendor, scenario), pckOf(vendor, scenario));
  const { version = 4, body, quote } = scenario;
  const header = { version, userData: Buffer.alloc(20, 0x0d), body: { ...bodyOf(version), ...body } };
  const attestationKey = pointOf(vendor.attestation);
  const authData = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
  const reportData = Buffer.concat([createHash("sha256").update(attestationKey).update(authData).digest()], 64);
  const qeReport = { ...QE_REPORT, reportData, ...scenario.qeReport };
  return {
    kind: "tdx",
    quote: encodeTdxQuote({
      ...header,
      signature: p1363(encodeSignedQuote(header), vendor.attestation.privateKey),
      attestationKey,
      qeReport,
      qeReportSignature: p1363(encodeEnclaveReport(qeReport), vendor.pck.privateKey),
      authData,
      certificateChain: Buffer.concat([chain, Buffer.of(0)]),
      padding: 0,
      ...quote,
    }),
    collateral: makeCollateral(vendor, scenario),
  };
}

export function makeCollateral(vendor: TestVendor, scenario: Scenario = {}): TdxCollateral {
  const { documentKey = vendor.signer.privateKey } = scenario;
  return {
    tcbInfo: document("tcbInfo", { ...TCB_INFO, ...scenario.tcbInfo }, documentKey),
    qeIdentity: document("enclaveIdentity", { ...QE_IDENTITY, ...scenario.qeIdentity }, documentKey),
    signingChain: pem(signerOf(vendor, scenario), rootOf(vendor, scenario)),
    rootCrl: makeList({
      issuer: "Intel SGX Root CA",
      signer: intelSigner(vendor.root.privateKey),
      ...scenario.rootCrl,
    }),
    pckCrl: makeList({
      issuer: "Intel SGX PCK Platform CA",
      signer: intelSigner(vendor.ca.privateKey),
      ...scenario.pckCrl,
    }),
    ...scenario.collateral,
  };
}

/** A document of Intel's PCS: the body, and the signature over its bytes. */
export function document(key: string, body: Json, by: KeyObject): Uint8Array {
  const text = JSON.stringify(body);
  return Buffer.from(`{"${key}":${text},"signature":"${toHex(p1363(Buffer.from(text), by))}"}`);
}

const MODULE = { mrsigner: "00".repeat(48), attributes: "00".repeat(8), attributesMask: "FF".repeat(8) };

/** A level of a TDX module or of the quoting enclave. */
export function componentLevel(isvsvn: number, tcbStatus: string, ...advisoryIDs: readonly string[]): Json {
  return { tcb: { isvsvn }, tcbDate: "2025-01-01T00:00:00Z", tcbStatus, advisoryIDs };
}

export interface Level {
  readonly components?: readonly number[];
  readonly pceSvn?: number;
  readonly tdx?: Uint8Array;
}

/** A level of the platform, by default its own. */
export function platformLevel(level: Level, tcbStatus: string, ...advisoryIDs: readonly string[]): Json {
  const { components = COMPONENTS, pceSvn = PCE_SVN, tdx = svn(5, 0, 4) } = level;
  const tcb = {
    sgxtcbcomponents: components.map((svn) => ({ svn })),
    pcesvn: pceSvn,
    tdxtcbcomponents: [...tdx].map((svn) => ({ svn, category: "OS/VMM" })),
  };
  return { tcb, tcbDate: "2025-01-01T00:00:00Z", tcbStatus, advisoryIDs };
}

export function moduleIdentity(id: string, ...tcbLevels: readonly Json[]): Json {
  return { id, ...MODULE, tcbLevels };
}

export const TCB_INFO: Json = {
  id: "TDX",
  version: 3,
  issueDate: EARLIER.toISOString().replace(".000", ""),
  nextUpdate: LATER.toISOString().replace(".000", ""),
  fmspc: "90C06F000000",
  pceId: "0000",
  tcbType: 0,
  tcbEvaluationDataNumber: 18,
  tdxModule: MODULE,
  tdxModuleIdentities: [moduleIdentity("tdx_01", componentLevel(11, "UpToDate"), componentLevel(4, "OutOfDate"))],
  tcbLevels: [platformLevel({}, "UpToDate")],
};

export const QE_IDENTITY: Json = {
  id: "TD_QE",
  version: 2,
  issueDate: EARLIER.toISOString().replace(".000", ""),
  nextUpdate: LATER.toISOString().replace(".000", ""),
  tcbEvaluationDataNumber: 18,
  miscselect: "00000000",
  miscselectMask: "FFFFFFFF",
  attributes: "11000000000000000000000000000000",
  attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
  mrsigner: "DC".repeat(32),
  isvprodid: 2,
  tcbLevels: [componentLevel(QE_ISV_SVN, "UpToDate"), componentLevel(4, "OutOfDate")],
};

const QE_REPORT: EnclaveReport = {
  cpuSvn: Buffer.alloc(16, 5),
  miscSelect: Buffer.alloc(4),
  isvExtProdId: Buffer.alloc(16),
  attributes: Buffer.from("1500000000000000e700000000000000", "hex"),
  mrEnclave: Buffer.alloc(32, 0xee),
  mrSigner: Buffer.alloc(32, 0xdc),
  configId: Buffer.alloc(64),
  isvProdId: 2,
  isvSvn: QE_ISV_SVN,
  configSvn: 0,
  isvFamilyId: Buffer.alloc(16),
  reportData: Buffer.alloc(64),
};

export function bodyOf(version: 4 | 5): TdBody {
  return {
    teeTcbSvn: TEE_TCB_SVN,
    mrSeam: Buffer.alloc(48, 0x5a),
    mrSignerSeam: Buffer.alloc(48),
    seamAttributes: Buffer.alloc(8),
    tdAttributes: 1n << 28n,
    xfam: Buffer.from("e702060000000000", "hex"),
    mrTd: Buffer.alloc(48, 0xaa),
    mrConfigId: Buffer.concat([Buffer.alloc(32, 0x40)], 48),
    mrOwner: Buffer.alloc(48),
    mrOwnerConfig: Buffer.alloc(48),
    rtmrs: [1, 2, 3, 0].map((byte) => Buffer.alloc(48, byte)),
    reportData: Buffer.alloc(64, 0xda),
    tdx15: version === 4 ? undefined : { teeTcbSvn2: TEE_TCB_SVN, mrServiceTd: Buffer.alloc(48) },
  };
}

/** The extensions of a PCK certificate, in which some values are others or, where undefined, are left out. */
export function pckExtensions(changes: Readonly<Record<string, Uint8Array | undefined>> = {}): Extensions {
  const attribute = (id: string, value: Uint8Array): Uint8Array[] => {
    const changed = id in changes ? changes[id] : value;
    return changed === undefined ? [] : [encodeSequence(encodeOid(id), changed)];
  };
  const octets = (bytes: Uint8Array): Uint8Array => encodeDer(TAG.octetString, bytes);
  const tcb = [
    ...SGX_OID.components.flatMap((id, index) => attribute(id, encodeInteger(COMPONENTS[index] ?? 0))),
    ...attribute(SGX_OID.pceSvn, encodeInteger(PCE_SVN)),
    ...attribute(SGX_OID.cpuSvn, octets(Buffer.from(COMPONENTS))),
  ];
  const off = encodeDer(TAG.boolean, Buffer.of(0));
  const configuration = [SGX_OID.dynamicPlatform, SGX_OID.cachedKeys, SGX_OID.smtEnabled].flatMap((id) =>
    attribute(id, off),
  );
  const platform = [
    ...attribute(SGX_OID.ppid, octets(Buffer.alloc(16, 0x11))),
    ...attribute(SGX_OID.tcb, encodeSequence(...tcb)),
    ...attribute(SGX_OID.pceId, octets(Buffer.alloc(2))),
    ...attribute(SGX_OID.fmspc, octets(Buffer.from("90c06f000000", "hex"))),
    ...attribute(SGX_OID.sgxType, encodeDer(TAG.enumerated, Buffer.of(SGX_TYPES.ScalableWithIntegrity))),
    ...attribute(SGX_OID.piid, octets(PIID)),
    ...attribute(SGX_OID.configuration, encodeSequence(...configuration)),
  ];
  const value = encodeSequence(...platform);
  return new Map([...LEAF_EXTENSIONS, [SGX_OID.extensions, { critical: false, value }]]);
}

/** A CA of Intel's has the extensions that a root of AMD's has. */
export const CA_EXTENSIONS = ARK_EXTENSIONS;
const LEAF_EXTENSIONS: Extensions = new Map([
  [OID.basicConstraints, { critical: true, value: encodeSequence() }],
  [OID.keyUsage, { critical: true, value: encodeBitString(Buffer.of(0xc0), 6) }],
]);

const VALIDITY = { notBefore: new Date("2020-01-01T00:00:00Z"), notAfter: new Date("2040-01-01T00:00:00Z") };

function rootOf(vendor: TestVendor, { root, rootSigner }: Scenario): Uint8Array {
  const name = "Intel SGX Root CA";
  return issue(vendor.root, name, name, SERIALS.root, CA_EXTENSIONS, root, rootSigner ?? signerBy(vendor.root));
}

function caOf(vendor: TestVendor, { ca, caSigner }: Scenario): Uint8Array {
  const [name, issuer] = ["Intel SGX PCK Platform CA", "Intel SGX Root CA"];
  return issue(vendor.ca, name, issuer, SERIALS.ca, CA_EXTENSIONS, ca, caSigner ?? signerBy(vendor.root));
}

function pckOf(vendor: TestVendor, { pck, pckSigner }: Scenario): Uint8Array {
  const [name, issuer] = ["Intel SGX PCK Certificate", "Intel SGX PCK Platform CA"];
  return issue(vendor.pck, name, issuer, SERIALS.pck, pckExtensions(), pck, pckSigner ?? signerBy(vendor.ca));
}

function signerOf(vendor: TestVendor, { signer, signerSigner }: Scenario): Uint8Array {
  const [name, issuer] = ["Intel SGX TCB Signing", "Intel SGX Root CA"];
  const by = signerSigner ?? signerBy(vendor.root);
  return issue(vendor.signer, name, issuer, SERIALS.signer, LEAF_EXTENSIONS, signer, by);
}

function signerBy({ privateKey }: KeyPair): Signer {
  return intelSigner(privateKey);
}

/** @returns DER */
export function issue(
  { publicKey }: KeyPair,
  subject: string,
  issuer: string,
  serial: number,
  extensions: Extensions,
  changes: Partial<CertificateRequest> | undefined,
  signer: Signer,
): Uint8Array {
  return issueCertificate({ ...VALIDITY, subject, issuer, publicKey, serial, extensions, ...changes }, signer);
}

function makeList({ issuer = "", thisUpdate = EARLIER, nextUpdate = LATER, serials = [], signer }: List): Uint8Array {
  if (signer === undefined) throw new TypeError("a list needs a signer");
  const entries = serials.map((serial) => encodeSequence(encodeInteger(serial), encodeTime(EARLIER)));
  return encodeSigned(signer, [
    encodeInteger(1),
    signer.algorithm,
    encodeName(issuer),
    encodeTime(thisUpdate),
    encodeTime(nextUpdate),
    ...(entries.length > 0 ? [encodeSequence(...entries)] : []),
  ]);
}

export function pem(...certificates: readonly Uint8Array[]): Uint8Array {
  const blocks = certificates.map((der) => {
    const lines = toBase64(der).match(/.{1,64}/g) ?? [];
    return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
  });
  return Buffer.from(blocks.join(""));
}

/** x ‖ y of a P-256 key: the end of its SubjectPublicKeyInfo. */
export function pointOf({ publicKey }: KeyPair): Uint8Array {
  return publicKey.export({ type: "spki", format: "der" }).subarray(-64);
}

function p1363(bytes: Uint8Array, key: KeyObject): Uint8Array {
  return sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
}
