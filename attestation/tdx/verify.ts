import { hash, type KeyObject } from "node:crypto";
import { type EvidenceCode, EvidenceError } from "../error.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import { type EvidenceCache, type Parse, parseAnew } from "../evidence-cache.ts";
import { parsePemCertificates } from "../pem.ts";
import type { Certificate } from "../x509.ts";
import { type PckChain, verifyPckChain } from "./chain.ts";
import { verifyCollateral } from "./collateral.ts";
import { hasSigned, p256KeyOfPoint } from "./ecdsa.ts";
import { parsePck, type Pck } from "./pck.ts";
import { parseTdxQuote, type TdxQuote } from "./quote.ts";
import type { TdxTrustAnchors } from "./roots.ts";
import type { QeIdentity, TcbInfo } from "./tcb-info.ts";
import { evaluateTcb, moduleIdentity, type TcbEvaluation, type TcbStatus } from "./tcb.ts";

/**
 * Verifies that an Intel CPU with TDX made a quote: the chain up to a pinned root, the quoting enclave that the PCK
 * vouches for, the attestation key that the enclave vouches for, and the quote's signature; and that all of it is
 * software of Intel's. How up to date it is comes along; whether that will do, and whether the quote says the right
 * thing, is for `validateTdx`.
 */

/** A quote that was verified. There is no way to one but `verifyTdx`: the class is not exported. */
class VerifiedQuote {
  readonly kind = "tdx";
  readonly #quote: TdxQuote;
  readonly #pck: Pck;
  readonly #tcb: TcbEvaluation;
  readonly #path: readonly Certificate[];

  constructor(quote: TdxQuote, pck: Pck, tcb: TcbEvaluation, { pck: leaf, ca, root }: PckChain) {
    this.#quote = quote;
    this.#pck = pck;
    this.#tcb = tcb;
    this.#path = [leaf, ca, root];
  }

  get quote(): TdxQuote {
    return this.#quote;
  }

  get pck(): Pck {
    return this.#pck;
  }

  get tcbStatus(): TcbStatus {
    return this.#tcb.status;
  }

  /** Intel's security advisories for what the platform lacks. */
  get advisories(): readonly string[] {
    return this.#tcb.advisories;
  }

  /** The certificates that vouch for it, from the platform's to the root's. */
  get path(): readonly Certificate[] {
    return this.#path;
  }
}

export type VerifiedTdxQuote = VerifiedQuote;

export interface TdxVerifyOptions {
  /** The verifier's own; where it has none, the evidence's. */
  readonly collateral?: TdxCollateral | undefined;
  readonly trustAnchors: TdxTrustAnchors;
  /** The time to verify for. */
  readonly at: Date;
  /** What earlier verifications parsed. It makes this one faster and changes nothing about its outcome. */
  readonly cache?: EvidenceCache | undefined;
}

/**
 * Parses and verifies evidence.
 *
 * @throws EvidenceError
 */
export function verifyTdx(evidence: TdxEvidence, options: TdxVerifyOptions): VerifiedTdxQuote {
  const { cache } = options;
  return cache === undefined
    ? verifyWith(parseAnew, evidence, options)
    : cache.remembering((parse) => verifyWith(parse, evidence, options));
}

function verifyWith(
  parse: Parse,
  evidence: TdxEvidence,
  { collateral, trustAnchors, at }: TdxVerifyOptions,
): VerifiedTdxQuote {
  const quote = parseTdxQuote(evidence.quote);
  const certificates = parse(parseChain, quote.certificateChain);
  const chain = verifyPckChain(certificates, trustAnchors, at);
  const pck = parsePck(chain.pck);
  checkQeReportSignature(quote, pck);
  checkAttestationKey(quote);
  checkSignature(quote, parse(p256KeyOfPoint, quote.attestationKey));
  const { tcbInfo, qeIdentity } = verifyCollateral(parse, required(collateral ?? evidence.collateral), chain, at);
  checkQeIdentity(quote, qeIdentity);
  checkPlatform(pck, tcbInfo);
  checkModule(quote, tcbInfo);
  const tcb = evaluateTcb(tcbInfo, qeIdentity, { pck, qeIsvSvn: quote.qeReport.isvSvn, body: quote.body });
  return new VerifiedQuote(quote, pck, tcb, chain);
}

function parseChain(pem: Buffer): readonly Certificate[] {
  return parsePemCertificates(pem, "PCK certificate chain");
}

function checkQeReportSignature({ signedQeReport, qeReportSignature }: TdxQuote, pck: Pck): void {
  if (hasSigned(pck.publicKey, signedQeReport, qeReportSignature)) return;
  throw new EvidenceError("qe_report_signature", "the quoting enclave's report is not signed by the platform", {
    where: "QE report signature",
    got: "another signature",
    want: `one by the key of ${pck.certificate.commonName}`,
  });
}

/** Without this, any key could be put beside the report of a real quoting enclave. */
function checkAttestationKey({ attestationKey, authData, qeReport }: TdxQuote): void {
  const digest = hash("sha256", Buffer.concat([attestationKey, authData]), "buffer");
  const want = Buffer.concat([digest], 64);
  if (qeReport.reportData.equals(want)) return;
  throw new EvidenceError("attestation_key_mismatch", "the quoting enclave vouches for another attestation key", {
    where: "QE REPORTDATA",
    got: qeReport.reportData.toString("hex"),
    want: want.toString("hex"),
  });
}

function checkSignature({ signed, signature }: TdxQuote, attestationKey: KeyObject): void {
  if (hasSigned(attestationKey, signed, signature)) return;
  throw new EvidenceError("report_signature", "the quote is not signed by its attestation key", {
    where: "quote signature",
    got: "another signature",
    want: "one by the attestation key",
    hint: "the quote was changed",
  });
}

function required(collateral: TdxCollateral | undefined): TdxCollateral {
  if (collateral !== undefined) return collateral;
  throw new EvidenceError("collateral_missing", "there is no collateral to judge the platform by", {
    where: "collateral",
    got: "none",
    want: "TCB info, QE identity, their signing chain and the revocation lists",
    hint: "fetch it from Intel's provisioning certification service by the FMSPC of the PCK certificate",
  });
}

function checkQeIdentity({ qeReport }: TdxQuote, identity: QeIdentity): void {
  const message = "the quote was not made by Intel's quoting enclave";
  checkEqual("qe_identity_mismatch", message, [
    ["QE MRSIGNER", qeReport.mrSigner, identity.mrsigner],
    ["QE ISVPRODID", qeReport.isvProdId, identity.isvprodid],
    ["QE MISCSELECT", masked(qeReport.miscSelect, identity.miscselectMask), identity.miscselect],
    ["QE ATTRIBUTES", masked(qeReport.attributes, identity.attributesMask), identity.attributes],
  ]);
}

/** The TCB info of another platform could call an old one up to date. */
function checkPlatform({ fmspc, pceId }: Pck, tcbInfo: TcbInfo): void {
  if (fmspc.equals(tcbInfo.fmspc) && pceId.equals(tcbInfo.pceId)) return;
  throw new EvidenceError("fmspc_mismatch", "the TCB info is for another platform", {
    where: "FMSPC, PCEID",
    got: `${tcbInfo.fmspc.toString("hex")}, ${tcbInfo.pceId.toString("hex")}`,
    want: `${fmspc.toString("hex")}, ${pceId.toString("hex")}`,
    hint: "fetch the TCB info of the PCK certificate's FMSPC",
  });
}

function checkModule({ body }: TdxQuote, tcbInfo: TcbInfo): void {
  const { mrsigner, attributes, attributesMask } = moduleIdentity(body, tcbInfo);
  checkEqual("tdx_module_mismatch", "the TDX module is not Intel's", [
    ["MRSIGNERSEAM", body.mrSignerSeam, mrsigner],
    ["SEAMATTRIBUTES", masked(body.seamAttributes, attributesMask), attributes],
  ]);
}

/** @param fields name, what is there, what would be right */
function checkEqual(
  code: EvidenceCode,
  message: string,
  fields: readonly (readonly [where: string, got: Buffer | number, want: Buffer | number])[],
): void {
  for (const [where, got, want] of fields) {
    const isEqual = Buffer.isBuffer(got) && Buffer.isBuffer(want) ? got.equals(want) : got === want;
    if (!isEqual) throw new EvidenceError(code, message, { where, got: shown(got), want: shown(want) });
  }
}

function shown(value: Buffer | number): string {
  return Buffer.isBuffer(value) ? value.toString("hex") : `${value}`;
}

/** The bits that the mask selects. */
function masked(bytes: Buffer, mask: Buffer): Buffer {
  return Buffer.from(bytes.map((byte, index) => byte & (mask[index] ?? 0xff)));
}
