import { parseRevocationList } from "../crl.ts";
import { EvidenceError } from "../error.ts";
import { type Certificate, keyUsage } from "../x509.ts";
import { isSignedBy } from "./pss.ts";

/** cRLSign in the first byte of KeyUsage (RFC 5280 §4.2.1.3). */
const CRL_SIGN = 0x02;

/**
 * Checks the ARK's revocation list. It names ASKs and ASVKs by serial number; serial numbers are the issuer's own, so a
 * VCEK (serial 0, issued by the ASK) can't be on it. AMD supersedes VCEKs by their TCB.
 *
 * @throws EvidenceError malformed_crl, crl_expired, certificate_algorithm, certificate_revoked
 */
export function checkNotRevoked(crl: Buffer, ask: Certificate, ark: Certificate, at: Date): void {
  const list = parseRevocationList(crl);
  const what = `revocation list of ${ark.commonName}`;
  if (!list.issuer.equals(ark.subject) || (keyUsage(ark) & CRL_SIGN) === 0 || !isSignedBy(list, ark, what)) {
    throw new EvidenceError("malformed_crl", "the revocation list is not signed by the root", {
      where: what,
      got: "another signature or issuer",
      want: `issued by ${ark.commonName}`,
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
  if (list.revoked.has(ask.serial.toString("hex"))) {
    throw new EvidenceError("certificate_revoked", "AMD revoked a certificate of the chain", {
      where: ask.commonName,
      got: `serial ${ask.serial.toString("hex")}`,
      want: "a certificate that is not on the revocation list",
      hint: "the host has to update its firmware and certificates",
    });
  }
}
