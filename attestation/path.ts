import { isEqual } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { quote } from "../runtime/fault.ts";
import { EvidenceError } from "./error.ts";
import { memoize } from "./memoize.ts";
import { type Certificate, isCa, keyUsage, OID, type Signed } from "./x509.ts";

/**
 * What holds on every certification path (RFC 5280 §6), whichever vendor's: who is named, who is pinned, who may issue,
 * what is valid when. Which signatures a vendor makes is for the vendor's `IsSignedBy`.
 */

/**
 * Whether `issuer` signed it.
 *
 * @param what its name, for the error
 * @throws EvidenceError certificate_algorithm where the algorithm or the issuer's key is not the vendor's
 */
export type IsSignedBy = (signed: Signed, issuer: Certificate, what: string) => boolean;

type OneOrMore = readonly [Certificate, ...Certificate[]];

/** keyCertSign in the first byte of KeyUsage (RFC 5280 §4.2.1.3). */
const KEY_CERT_SIGN = 0x04;

/**
 * The certificates of one of these names, of which there must be one.
 *
 * @param hint where they are to be had
 */
export function named(
  certificates: readonly Certificate[],
  commonNames: readonly string[],
  hint: string | undefined,
): OneOrMore {
  const [first, ...others] = certificates.filter(({ commonName }) => commonNames.includes(commonName));
  if (first === undefined) {
    throw new EvidenceError("certificate_missing", "the certificate chain is not complete", {
      where: "certificates",
      got: certificates.map(({ commonName }) => quote(commonName)).join(", ") || "none",
      want: commonNames.join(" or "),
      hint,
    });
  }
  return [first, ...others];
}

/** The digest of the key is all that makes a root: anybody can make a certificate of that name. */
export function findPinned(
  candidates: OneOrMore,
  pinned: ReadonlySet<string>,
): { readonly certificate: Certificate; readonly spkiDigest: string } {
  for (const certificate of candidates) {
    const spkiDigest = digestOf(certificate);
    if (pinned.has(spkiDigest)) return { certificate, spkiDigest };
  }
  throw new EvidenceError("untrusted_root", "the certificate chain ends in a root that is not trusted", {
    where: `${candidates[0].commonName}, subjectPublicKeyInfo`,
    got: digestOf(candidates[0]),
    want: [...pinned].join(" or ") || "no root is trusted",
  });
}

/** What a key is pinned by: lower-case hex of the SHA-256 of the SubjectPublicKeyInfo. */
export const digestOf = memoize(({ spki }: Certificate) => sha256Hex(spki));

export function isIssuedBy(certificate: Certificate, issuer: Certificate, isSignedBy: IsSignedBy): boolean {
  return isEqual(certificate.issuer, issuer.subject) && isSignedBy(certificate, issuer, certificate.commonName);
}

export function notIssued(certificate: Certificate | undefined, issuer: Certificate | undefined): EvidenceError {
  return new EvidenceError("chain_signature", "a certificate is not signed by its issuer", {
    where: certificate?.commonName,
    got: "another signature or issuer",
    want: `issued by ${issuer?.commonName ?? ""}`,
  });
}

export function checkCa(certificate: Certificate): void {
  checkCritical(certificate, [OID.basicConstraints, OID.keyUsage]);
  if (!isCa(certificate) || (keyUsage(certificate) & KEY_CERT_SIGN) === 0) {
    throw new EvidenceError("malformed_certificate", "a certificate that may not issue others", {
      where: `${certificate.commonName}, basicConstraints and keyUsage`,
      got: "no CA",
      want: "cA TRUE and keyCertSign",
    });
  }
}

/** RFC 5280 §4.2: an extension that is critical and not understood makes the certificate unusable. */
export function checkCritical(certificate: Certificate, understood: readonly string[]): void {
  for (const [id, { critical }] of certificate.extensions) {
    if (critical && !understood.includes(id)) {
      throw new EvidenceError("malformed_certificate", "a critical extension that is not understood", {
        where: certificate.commonName,
        got: id,
        want: understood.join(", ") || "none",
      });
    }
  }
}

export function checkValidity(certificate: Certificate, at: Date): void {
  const { commonName, notBefore, notAfter } = certificate;
  // Written so that an invalid date is refused.
  if (notBefore <= at && at <= notAfter) return;
  throw new EvidenceError("certificate_expired", "a certificate is not valid at this time", {
    where: commonName,
    got: Number.isNaN(at.getTime()) ? "no time" : at.toISOString(),
    want: `${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    hint: "check the clock, then fetch the certificate anew",
  });
}
