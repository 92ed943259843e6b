import { filledUp, isEqual, toHex } from "../../bytes/encode.ts";
import { digest } from "../../crypto/node.ts";
import { EvidenceError } from "../error.ts";
import type { TdxEvidence } from "../evidence.ts";
import type { Parse } from "../parse.ts";
import { parsePemCertificates } from "../pem.ts";
import type { Certificate } from "../x509.ts";
import { type PckChain, verifyPckChain } from "./chain.ts";
import { hasSigned, p256KeyOfPoint } from "./ecdsa.ts";
import { parsePck, type Pck } from "./pck.ts";
import { parseTdxQuote, type TdxQuote } from "./quote.ts";
import type { TdxTrustAnchors } from "./roots.ts";

/**
 * The first step of verifying a quote, with what is in it alone: the chain up to a pinned root, the quoting enclave that
 * the PCK vouches for, the attestation key that the enclave vouches for, and the signature. So some platform of Intel's
 * made it. How good that platform is, and whether the enclave is Intel's, is said by the collateral, which can be asked
 * for now.
 */

/** A quote that a platform of Intel's has signed. Only `verifyTdxSignature` makes one. */
class SignedQuote {
  readonly kind = "tdx";
  readonly #quote: TdxQuote;
  readonly #pck: Pck;
  readonly #chain: PckChain;

  constructor(quote: TdxQuote, pck: Pck, chain: PckChain) {
    this.#quote = quote;
    this.#pck = pck;
    this.#chain = chain;
  }

  get quote(): TdxQuote {
    return this.#quote;
  }

  get reportData(): Uint8Array {
    return this.#quote.body.reportData;
  }

  get pck(): Pck {
    return this.#pck;
  }

  get chain(): PckChain {
    return this.#chain;
  }
}

export type SignedTdxQuote = SignedQuote;

/** @throws EvidenceError */
export function verifyTdxSignature(
  evidence: TdxEvidence,
  trustAnchors: TdxTrustAnchors,
  at: Date,
  parse: Parse,
): SignedTdxQuote {
  const quote = parseTdxQuote(evidence.quote);
  const chain = verifyPckChain(parse(parseChain, quote.certificateChain), trustAnchors, at);
  const pck = parsePck(chain.pck);
  checkQeReportSignature(quote, pck);
  checkAttestationKey(quote);
  checkSignature(quote, parse(p256KeyOfPoint, quote.attestationKey));
  return new SignedQuote(quote, pck, chain);
}

function parseChain(pem: Uint8Array): readonly Certificate[] {
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
  const want = filledUp(digest("sha256", attestationKey, authData), 64);
  if (isEqual(qeReport.reportData, want)) return;
  throw new EvidenceError("attestation_key_mismatch", "the quoting enclave vouches for another attestation key", {
    where: "QE REPORTDATA",
    got: toHex(qeReport.reportData),
    want: toHex(want),
  });
}

function checkSignature({ signed, signature }: TdxQuote, attestationKey: Uint8Array): void {
  if (hasSigned(attestationKey, signed, signature)) return;
  throw new EvidenceError("report_signature", "the quote is not signed by its attestation key", {
    where: "quote signature",
    got: "another signature",
    want: "one by the attestation key",
    hint: "the quote was changed",
  });
}
