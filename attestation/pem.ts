import { fromBase64, toLatin1 } from "../bytes/encode.ts";
import { EvidenceError } from "./error.ts";
import { type Certificate, parseCertificate } from "./x509.ts";

/**
 * Certificates in PEM (RFC 7468), strictly: blocks one after the other, in base64 of one form, and nothing between them.
 * A zero byte may end it: C programs hand out their strings with it.
 */
const FILE =
  /^(?:-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\r\n]*?-----END CERTIFICATE-----(?:\r?\n|(?=\0?$)))*\0?$/;
const BLOCK = /-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g;

/** More than two chains need; without a limit, evidence could make a verifier work for long. */
const MAX_CERTIFICATES = 12;

/**
 * @param where its name, for the error
 * @throws EvidenceError malformed_certificate
 */
export function parsePemCertificates(pem: Uint8Array, where: string): readonly Certificate[] {
  return decodePemCertificates(pem, where).map((der) => parseCertificate(der));
}

/**
 * @param where its name, for the error
 * @returns DER, not parsed
 * @throws EvidenceError malformed_certificate
 */
export function decodePemCertificates(pem: Uint8Array, where: string): readonly Uint8Array[] {
  const text = toLatin1(pem);
  const blocks = FILE.test(text) ? Array.from(text.matchAll(BLOCK), ([, base64 = ""]) => base64) : [];
  if (blocks.length === 0 || blocks.length > MAX_CERTIFICATES) {
    throw malformed(where, blocks.length === 0 ? "something else" : `${blocks.length} certificates`);
  }
  return blocks.map((block) => {
    // Bits that the padding leaves over could be anything: two texts for one certificate.
    const der = fromBase64(block.replaceAll(/[\r\n]/g, ""));
    if (der === undefined) throw malformed(where, "base64 with other padding");
    return der;
  });
}

function malformed(where: string, got: string): EvidenceError {
  return new EvidenceError("malformed_certificate", "the certificates are not in PEM", {
    where,
    got,
    want: `1 to ${MAX_CERTIFICATES} blocks -----BEGIN CERTIFICATE-----`,
  });
}
