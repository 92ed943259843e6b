import { EvidenceError } from "../../attestation/error.ts";
import { refusing } from "../../attestation/malformed.ts";
import { type Certificate, parseCertificate } from "../../attestation/x509.ts";
import { isEqual, toBase64, toHex, toLatin1 } from "../../bytes/encode.ts";
import { readDer, TAG } from "../../pki/der.ts";

/**
 * Certificates and revocation lists from files that people have: DER, or PEM (RFC 7468) with any text around the blocks.
 * What they are worth is for the verifier.
 */

/** More than two chains need. */
const MAX_CERTIFICATES = 12;

/**
 * @param where its name, for the error
 * @returns the DER of 1 to 12 certificates
 * @throws EvidenceError malformed_certificate
 */
export function decodeCertificates(bytes: Uint8Array, where: string): readonly Uint8Array[] {
  const certificates = isDer(bytes) ? splitDer(bytes, where) : decodePem(bytes, "CERTIFICATE");
  if (certificates !== undefined && certificates.length > 0 && certificates.length <= MAX_CERTIFICATES) {
    return certificates;
  }
  throw new EvidenceError("malformed_certificate", "the file holds no certificates", {
    where,
    got: certificates === undefined ? "PEM that is damaged" : `${certificates.length} certificates`,
    want: `1 to ${MAX_CERTIFICATES} certificates, PEM or DER`,
  });
}

/**
 * @returns DER
 * @throws EvidenceError malformed_crl
 */
export function decodeRevocationList(bytes: Uint8Array, where: string): Uint8Array {
  if (isDer(bytes)) return bytes;
  const [list, ...others] = decodePem(bytes, "X509 CRL") ?? [];
  if (list !== undefined && others.length === 0) return list;
  throw new EvidenceError("malformed_crl", "the file holds no revocation list", {
    where,
    got: others.length > 0 ? `${others.length + 1} lists` : "something else",
    want: "one revocation list, PEM or DER",
  });
}

/** The certificates, each once. */
export function distinct(certificates: readonly Uint8Array[]): readonly Uint8Array[] {
  return [...new Map(certificates.map((der) => [toHex(der), der])).values()];
}

/** In the strict form that collateral has. */
export function encodePem(certificates: readonly Uint8Array[]): Uint8Array {
  const blocks = certificates.map(
    (der) => `-----BEGIN CERTIFICATE-----\n${toBase64(der)}\n-----END CERTIFICATE-----\n`,
  );
  return Buffer.from(blocks.join(""), "latin1");
}

/**
 * The roots among certificates that the user calls trust anchors: those that name themselves as their issuer.
 *
 * @throws EvidenceError malformed_certificate
 */
export function rootsAmong(certificates: readonly Uint8Array[], where: string): readonly Certificate[] {
  const roots = certificates
    .map((der) => parseCertificate(der))
    .filter(({ issuer, subject }) => isEqual(issuer, subject));
  if (roots.length > 0) return roots;
  throw new EvidenceError("malformed_certificate", "a trust anchor has to be a root", {
    where,
    got: "certificates of other issuers",
    want: "a certificate that is signed by itself",
  });
}

/** A SEQUENCE with a length of more than one byte, which no text begins with. */
function isDer(bytes: Uint8Array): boolean {
  return bytes[0] === TAG.sequence && (bytes[1] ?? 0) >= 0x80;
}

/** One certificate after the other. */
function splitDer(bytes: Uint8Array, where: string): readonly Uint8Array[] {
  return refusing("malformed_certificate", () =>
    readDer(bytes, where, (der) => {
      const certificates: Uint8Array[] = [];
      while (der.next !== undefined && certificates.length < MAX_CERTIFICATES) {
        certificates.push(der.element(TAG.sequence, where).encoding);
      }
      return certificates;
    }),
  );
}

/** @returns undefined where a block is not whole */
function decodePem(bytes: Uint8Array, label: string): readonly Uint8Array[] | undefined {
  const text = toLatin1(bytes);
  const begin = `-----BEGIN ${label}-----`;
  const blocks = [...text.matchAll(new RegExp(`${begin}([^-]*)-----END ${label}-----`, "g"))];
  if (blocks.length !== text.split(begin).length - 1) return undefined;
  const decoded = blocks.map(([, base64 = ""]) => decodeBase64(base64.replaceAll(/\s/g, "")));
  return decoded.every((der) => der !== undefined) ? decoded : undefined;
}

function decodeBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}
