import { concat, isEqual, toHex } from "../../bytes/encode.ts";
import { hexBytes } from "../../bytes/hex.ts";
import { isPublicKey, verifyEcdsa } from "../../crypto/node.ts";
import type { KeyType } from "../../crypto/primitives.ts";
import { looksLikeEcKey } from "../../crypto/shapes.ts";
import { ecdsaSignatureOfDer } from "../../pki/ecdsa-signature.ts";
import { encodeEcSpki } from "../../pki/spki.ts";
import { EvidenceError } from "../error.ts";
import { onceTrue } from "../memoize.ts";
import type { IsSignedBy } from "../path.ts";
import { type Certificate, publicKeyOf } from "../x509.ts";

/**
 * Intel signs everything with ECDSA, P-256 and SHA-256 (Intel SGX PCK Certificate and CRL Profile), and nothing else
 * passes here.
 */

/** AlgorithmIdentifier ecdsa-with-SHA256, without parameters (RFC 5758 §3.2). */
export const ECDSA_SHA256 = hexBytes("300a06082a8648ce3d040302");

const P256: KeyType = { kind: "ecdsa", curve: "P-256" };
/** What a point of both coordinates begins with (SEC 1 §2.3.3). */
const UNCOMPRESSED = Uint8Array.of(4);

/**
 * Whether `issuer` signed it.
 *
 * @param what its name, for the error
 * @throws EvidenceError certificate_algorithm where the algorithm or the issuer's key is not Intel's
 */
export const isSignedBy: IsSignedBy = onceTrue((signed, issuer, what) => {
  if (!isEqual(signed.signatureAlgorithm, ECDSA_SHA256)) {
    throw new EvidenceError("certificate_algorithm", "a signature algorithm that Intel does not use", {
      where: `${what}, signatureAlgorithm`,
      got: toHex(signed.signatureAlgorithm.subarray(0, 64)),
      want: "ecdsa-with-SHA256",
    });
  }
  const key = p256KeyOf(issuer);
  const signature = ecdsaSignatureOfDer("P-256", signed.signature);
  return signature !== undefined && hasSigned(key, signed.tbs, signature);
});

/**
 * Whether the holder of the key signed the bytes.
 *
 * @param key one that `p256KeyOf` or `p256KeyOfPoint` returned
 * @param signature r ‖ s, big-endian, 64 bytes (IEEE P1363)
 */
export function hasSigned(key: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean {
  return verifyEcdsa("P-256", "sha256", key, bytes, signature);
}

/** @returns SubjectPublicKeyInfo, DER @throws EvidenceError certificate_algorithm, malformed_certificate */
export function p256KeyOf(certificate: Certificate): Uint8Array {
  const { spki } = certificate;
  // Looked at before the key is parsed: curves can be made that are slow to check.
  if (!looksLikeEcKey("P-256", spki)) {
    throw new EvidenceError("certificate_algorithm", "a key that Intel does not use", {
      where: `${certificate.commonName}, subjectPublicKeyInfo`,
      got: toHex(spki.subarray(0, 27)),
      want: "id-ecPublicKey, secp256r1, an uncompressed point",
    });
  }
  return publicKeyOf(certificate, P256);
}

/**
 * The attestation key of a quote.
 *
 * @param point x ‖ y, big-endian, 64 bytes
 * @returns SubjectPublicKeyInfo, DER
 * @throws EvidenceError malformed_report where it is not on the curve
 */
export function p256KeyOfPoint(point: Uint8Array): Uint8Array {
  const key = encodeEcSpki({ curve: "P-256", point: concat(UNCOMPRESSED, point) });
  if (isPublicKey(P256, key)) return key;
  throw new EvidenceError("malformed_report", "the attestation key is no key", {
    where: "attestation key",
    got: toHex(point),
    want: "a point on P-256",
  });
}
