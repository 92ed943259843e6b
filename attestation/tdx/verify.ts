import { createHash } from "node:crypto";
import { type EvidenceCode, EvidenceError } from "../error.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import { parsePemCertificates } from "../pem.ts";
import { verifyPckChain } from "./chain.ts";
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

  constructor(quote: TdxQuote, pck: Pck, tcb: TcbEvaluation) {
    this.#quote = quote;
    this.#pck = pck;
    this.#tcb = tcb;
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
}

export type VerifiedTdxQuote = VerifiedQuote;

export interface TdxVerifyOptions {
  /** The verifier's own; where it has none, the evidence's. */
  readonly collateral?: TdxCollateral | undefined;
  readonly trustAnchors: TdxTrustAnchors;
  /** The time to verify for. */
  readonly at: Date;
}

/**
 * Parses and verifies evidence.
 *
 * @throws EvidenceError
 */
export function verifyTdx(evidence: TdxEvidence, { collateral, trustAnchors, at }: TdxVerifyOptions): VerifiedTdxQuote {
  const quote = parseTdxQuote(evidence.quote);
  const certificates = parsePemCertificates(quote.certificateChain, "PCK certificate chain");
  const chain = verifyPckChain(certificates, trustAnchors, at);
  const pck = parsePck(chain.pck);
  checkQeReportSignature(quote, pck);
  checkAttestationKey(quote);
  checkSignature(quote);
  const { tcbInfo, qeIdentity } = verifyCollateral(required(collateral ?? evidence.collateral), chain, at);
  checkQeIdentity(quote, qeIdentity);
  checkPlatform(pck, tcbInfo);
  checkModule(quote, tcbInfo);
  const tcb = evaluateTcb(tcbInfo, qeIdentity, { pck, qeIsvSvn: quote.qeReport.isvSvn, body: quote.body });
  return new VerifiedQuote(quote, pck, tcb);
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
  const digest = createHash("sha256").update(attestationKey).update(authData).digest();
  const want = Buffer.concat([digest], 64);
  if (qeReport.reportData.equals(want)) return;
  throw new EvidenceError("attestation_key_mismatch", "the quoting enclave vouches for another attestation key", {
    where: "QE REPORTDATA",
    got: qeReport.reportData.toString("hex"),
    want: want.toString("hex"),
  });
}

function checkSignature({ attestationKey, signed, signature }: TdxQuote): void {
  if (hasSigned(p256KeyOfPoint(attestationKey), signed, signature)) return;
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
    ["QE MRSIGNER", qeReport.mrSigner.toString("hex"), identity.mrsigner.toString("hex")],
    ["QE ISVPRODID", `${qeReport.isvProdId}`, `${identity.isvprodid}`],
    ["QE MISCSELECT", masked(qeReport.miscSelect, identity.miscselectMask), identity.miscselect.toString("hex")],
    ["QE ATTRIBUTES", masked(qeReport.attributes, identity.attributesMask), identity.attributes.toString("hex")],
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
    ["MRSIGNERSEAM", body.mrSignerSeam.toString("hex"), mrsigner.toString("hex")],
    ["SEAMATTRIBUTES", masked(body.seamAttributes, attributesMask), attributes.toString("hex")],
  ]);
}

/** @param fields name, what is there, what would be right */
function checkEqual(
  code: EvidenceCode,
  message: string,
  fields: readonly (readonly [where: string, got: string, want: string])[],
): void {
  for (const [where, got, want] of fields) {
    if (got !== want) throw new EvidenceError(code, message, { where, got, want });
  }
}

/** Hex of the bits that the mask selects. */
function masked(bytes: Buffer, mask: Buffer): string {
  return Buffer.from(bytes.map((byte, index) => byte & (mask[index] ?? 0xff))).toString("hex");
}
