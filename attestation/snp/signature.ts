import { verifyEcdsa } from "../../crypto/node.ts";
import { quote } from "../../runtime/fault.ts";
import { EvidenceError } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import type { Parse } from "../parse.ts";
import { type Certificate, parseCertificate } from "../x509.ts";
import { type Endorsement, endorsementKind, parseEndorsement } from "./certificate.ts";
import { parseSnpReport, type SnpReport } from "./report.ts";

/**
 * The first step of verifying a report: the key of a certificate that came along signed it. Nobody vouches for that key
 * yet, and whoever likes can make one, so this is no reason to believe anything. It is what has to hold before anything
 * is asked for on the sender's behalf.
 */

/** More than a chain of either kind needs; without a limit, evidence could make a verifier work for long. */
const MAX_CERTIFICATES = 12;

/** A report, and the certificate of the key that signed it. Only `verifySnpSignature` makes one. */
class SignedReport {
  readonly kind = "snp";
  readonly #report: SnpReport;
  readonly #endorsement: Endorsement;
  readonly #certificates: readonly Certificate[];

  constructor(report: SnpReport, endorsement: Endorsement, certificates: readonly Certificate[]) {
    this.#report = report;
    this.#endorsement = endorsement;
    this.#certificates = certificates;
  }

  get report(): SnpReport {
    return this.#report;
  }

  get reportData(): Uint8Array {
    return this.#report.reportData;
  }

  get endorsement(): Endorsement {
    return this.#endorsement;
  }

  /** All that came along, in any order. */
  get certificates(): readonly Certificate[] {
    return this.#certificates;
  }
}

export type SignedSnpReport = SignedReport;

/** @throws EvidenceError */
export function verifySnpSignature(evidence: SnpEvidence, parse: Parse): SignedSnpReport {
  const report = parseSnpReport(evidence.report);
  const certificates = parseCertificates(parse, evidence.certificates);
  const endorsement = findEndorsement(report, certificates);
  checkSignature(report, endorsement);
  return new SignedReport(report, endorsement, certificates);
}

function parseCertificates(parse: Parse, encoded: readonly Uint8Array[]): readonly Certificate[] {
  if (encoded.length > MAX_CERTIFICATES) {
    throw new EvidenceError("malformed_certificate", "more certificates than a chain needs", {
      where: "certificates",
      got: `${encoded.length}`,
      want: `at most ${MAX_CERTIFICATES}`,
    });
  }
  return encoded.map((der) => parse(parseCertificate, der));
}

/** The report says which kind of key signed it; the certificate of the other kind must not do in its place. */
function findEndorsement(report: SnpReport, certificates: readonly Certificate[]): Endorsement {
  const wanted = report.signingKey;
  if (wanted === "none") {
    throw new EvidenceError("signing_key_mismatch", "the report is not signed", {
      where: "SIGNING_KEY",
      got: "none",
      want: "VCEK or VLEK",
    });
  }
  const [first, ...others] = certificates
    .filter((certificate) => endorsementKind(certificate) === wanted)
    .map((certificate) => parseEndorsement(wanted, certificate));
  // A host may send the certificate of an earlier TCB along: another key, which did not sign.
  if (first !== undefined) return others.find((other) => hasSigned(other, report)) ?? first;
  const other = certificates.find((certificate) => endorsementKind(certificate) !== undefined);
  if (other !== undefined) {
    throw new EvidenceError("signing_key_mismatch", "the report was signed by another kind of key", {
      where: "SIGNING_KEY",
      got: `${wanted.toUpperCase()}, and a certificate of ${other.commonName}`,
      want: `the certificate of the ${wanted.toUpperCase()}`,
    });
  }
  throw new EvidenceError("certificate_missing", "there is no certificate of the key that signed the report", {
    where: "certificates",
    got: certificates.map(({ commonName }) => quote(commonName)).join(", ") || "none",
    want: `SEV-${wanted.toUpperCase()}`,
    hint: "fetch it from AMD's key distribution service by CHIP_ID and REPORTED_TCB",
  });
}

function hasSigned({ publicKey }: Endorsement, { signed, signature }: SnpReport): boolean {
  return verifyEcdsa("P-384", "sha384", publicKey, signed, signature);
}

function checkSignature(report: SnpReport, endorsement: Endorsement): void {
  if (hasSigned(endorsement, report)) return;
  throw new EvidenceError("report_signature", "the report is not signed by the key of the certificate", {
    where: "SIGNATURE",
    got: "another signature",
    want: `one by the key of ${endorsement.certificate.commonName}`,
    hint: "the report was changed, or the certificate is of another chip or TCB",
  });
}
