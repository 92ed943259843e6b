import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { EvidenceError } from "../error.ts";
import { onceTrue } from "../memoize.ts";
import type { IsSignedBy } from "../path.ts";
import { type Certificate, publicKeyOf } from "../x509.ts";

/**
 * Intel signs everything with ECDSA, P-256 and SHA-256 (Intel SGX PCK Certificate and CRL Profile), and nothing else
 * passes here.
 */

/** AlgorithmIdentifier ecdsa-with-SHA256, without parameters (RFC 5758 §3.2). */
export const ECDSA_SHA256 = Buffer.from("300a06082a8648ce3d040302", "hex");

/** SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480 §2): its length, id-ecPublicKey, secp256r1, uncompressed. */
const P256_SPKI = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");

/**
 * Whether `issuer` signed it.
 *
 * @param what its name, for the error
 * @throws EvidenceError certificate_algorithm where the algorithm or the issuer's key is not Intel's
 */
export const isSignedBy: IsSignedBy = onceTrue((signed, issuer, what) => {
  if (!signed.signatureAlgorithm.equals(ECDSA_SHA256)) {
    throw new EvidenceError("certificate_algorithm", "a signature algorithm that Intel does not use", {
      where: `${what}, signatureAlgorithm`,
      got: signed.signatureAlgorithm.subarray(0, 64).toString("hex"),
      want: "ecdsa-with-SHA256",
    });
  }
  return verify("sha256", signed.tbs, p256KeyOf(issuer), signed.signature);
});

/**
 * Whether the holder of `key` signed the bytes.
 *
 * @param signature r ‖ s, big-endian, 64 bytes (IEEE P1363)
 */
export function hasSigned(key: KeyObject, bytes: Buffer, signature: Buffer): boolean {
  return verify("sha256", bytes, { key, dsaEncoding: "ieee-p1363" }, signature);
}

/** @throws EvidenceError certificate_algorithm, malformed_certificate */
export function p256KeyOf(certificate: Certificate): KeyObject {
  const { spki } = certificate;
  // Looked at before the key is parsed: curves can be made that are slow to check.
  if (!spki.subarray(0, P256_SPKI.length).equals(P256_SPKI)) {
    throw new EvidenceError("certificate_algorithm", "a key that Intel does not use", {
      where: `${certificate.commonName}, subjectPublicKeyInfo`,
      got: spki.subarray(0, P256_SPKI.length).toString("hex"),
      want: "id-ecPublicKey, secp256r1, an uncompressed point",
    });
  }
  return publicKeyOf(certificate);
}

/**
 * The attestation key of a quote.
 *
 * @param point x ‖ y, big-endian, 64 bytes
 * @throws EvidenceError malformed_report where it is not on the curve
 */
export function p256KeyOfPoint(point: Buffer): KeyObject {
  try {
    return createPublicKey({ key: Buffer.concat([P256_SPKI, point]), format: "der", type: "spki" });
  } catch (cause) {
    throw new EvidenceError("malformed_report", "the attestation key is no key", {
      where: "attestation key",
      got: point.toString("hex"),
      want: "a point on P-256",
      cause,
    });
  }
}
