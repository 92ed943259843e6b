import { isEqual, toHex } from "../bytes/encode.ts";
import type { RevocationList } from "./crl.ts";
import { EvidenceError } from "./error.ts";
import type { IsSignedBy } from "./path.ts";
import type { SignedTime } from "./signed-time.ts";
import { type Certificate, keyUsage } from "./x509.ts";

/** cRLSign in the first byte of KeyUsage (RFC 5280 §4.2.1.3). */
const CRL_SIGN = 0x02;

/**
 * Checks a revocation list, and that certificates are not on it. A list names certificates by serial number, and serial
 * numbers are the issuer's own: `certificates` are those that the signer of the list has issued.
 *
 * @returns when the list was signed
 * @throws EvidenceError malformed_crl, crl_expired, certificate_algorithm, certificate_revoked
 */
export function checkNotRevoked(
  list: RevocationList,
  certificates: readonly Certificate[],
  issuer: Certificate,
  isSignedBy: IsSignedBy,
  at: Date,
): SignedTime {
  const what = `revocation list of ${issuer.commonName}`;
  if (!isEqual(list.issuer, issuer.subject) || (keyUsage(issuer) & CRL_SIGN) === 0 || !isSignedBy(list, issuer, what)) {
    throw new EvidenceError("malformed_crl", "the revocation list is not signed by the issuer of the certificates", {
      where: what,
      got: "another signature or issuer",
      want: `issued by ${issuer.commonName}`,
    });
  }
  // An old list, replayed, would hide what was revoked since.
  if (!(list.thisUpdate <= at && at <= list.nextUpdate)) {
    throw new EvidenceError("crl_expired", "the revocation list is not valid at this time", {
      where: what,
      got: at.toISOString(),
      want: `${list.thisUpdate.toISOString()} to ${list.nextUpdate.toISOString()}`,
      hint: "check the clock, then fetch the list anew",
    });
  }
  const revoked = certificates.find(({ serial }) => list.revoked.has(toHex(serial)));
  if (revoked !== undefined) {
    throw new EvidenceError("certificate_revoked", "the vendor revoked a certificate of the chain", {
      where: revoked.commonName,
      got: `serial ${toHex(revoked.serial)}`,
      want: "a certificate that is not on the revocation list",
      hint: "the host has to update its firmware and certificates",
    });
  }
  return { what: `thisUpdate of the ${what}`, time: list.thisUpdate };
}
