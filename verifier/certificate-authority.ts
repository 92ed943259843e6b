import { EvidenceError } from "../attestation/error.ts";
import { checkCa, checkValidity } from "../attestation/path.ts";
import { decodePemCertificates } from "../attestation/pem.ts";
import { type Certificate, parseCertificate, type Signed } from "../attestation/x509.ts";
import { fromUtf8, isEqual, toBase64 } from "../bytes/encode.ts";
import { hexBytes } from "../bytes/hex.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { verifyEcdsa } from "../crypto/node.ts";
import type { Curve, Hash } from "../crypto/primitives.ts";
import { generationOf, type MeshGeneration } from "../manifest/generation-extensions.ts";
import { ecdsaSignatureOfDer } from "../pki/ecdsa-signature.ts";
import { VerifyError } from "./error.ts";

/**
 * The CA certificates of a deployment. The evidence binds their keys; each is signed by its own key, so nobody in between
 * can put another validity or another generation under the same key.
 */
export interface AuthorityCertificate {
  readonly pem: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly keyDigest: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Of a mesh CA. */
  readonly generation: MeshGeneration | undefined;
}

type CaName = "root CA" | "mesh CA";

/** What the Coordinator signs with (docs/design.md §7). */
const ALGORITHMS: Readonly<Record<CaName, Algorithm>> = {
  // ecdsa-with-SHA384 and ecdsa-with-SHA256, without parameters (RFC 5758 §3.2).
  "root CA": { curve: "P-384", hash: "sha384", identifier: "300a06082a8648ce3d040303" },
  "mesh CA": { curve: "P-256", hash: "sha256", identifier: "300a06082a8648ce3d040302" },
};

interface Algorithm {
  readonly curve: Curve;
  readonly hash: Hash;
  /** DER, hex. */
  readonly identifier: string;
}

/**
 * @param options the time to verify for; and whether that is one before the answer was given, when it may not have begun
 * @throws VerifyError ca_mismatch
 */
export function readAuthority(
  name: CaName,
  pem: string,
  { at, saved }: { readonly at: Date; readonly saved: boolean },
): AuthorityCertificate {
  try {
    const [der, ...others] = decodePemCertificates(fromUtf8(pem), name);
    if (der === undefined || others.length > 0)
      throw mismatch(name, `${others.length + 1} certificates`, "one, in PEM");
    // One text for one certificate.
    if (encodePem(der) !== pem) throw mismatch(name, "another form", "PEM in lines of 64 characters, and nothing else");
    const certificate = parseCertificate(der);
    requireSelfSigned(name, certificate);
    checkCa(certificate);
    const { spki, notBefore, notAfter } = certificate;
    checkValidity(certificate, saved && at < notBefore ? notBefore : at);
    return { pem, keyDigest: sha256Hex(spki), notBefore, notAfter, generation: generationOf(der) };
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause;
    const { where, got, want, hint } = cause;
    throw new VerifyError("ca_mismatch", `the ${name} is none that can be used: ${cause.message}`, {
      where: where ?? name,
      got,
      want,
      hint,
      cause,
    });
  }
}

function requireSelfSigned(name: CaName, certificate: Certificate): void {
  const { issuer, subject, spki } = certificate;
  if (isEqual(issuer, subject) && hasSigned(name, spki, certificate)) return;
  const { curve, hash } = ALGORITHMS[name];
  throw mismatch(name, "another signature", `one by its own key, ECDSA ${curve} with ${hash}`);
}

/** Whether a CA has signed it, as a Coordinator's CAs sign. @param spki of the CA's key */
export function hasSigned(name: CaName, spki: Uint8Array, signed: Signed): boolean {
  const { curve, hash, identifier } = ALGORITHMS[name];
  const signature = ecdsaSignatureOfDer(curve, signed.signature);
  return (
    isEqual(signed.signatureAlgorithm, hexBytes(identifier)) &&
    signature !== undefined &&
    verifyEcdsa(curve, hash, spki, signed.tbs, signature)
  );
}

function mismatch(where: string, got: string, want: string): VerifyError {
  return new VerifyError("ca_mismatch", `the ${where} is not what a Coordinator makes`, { where, got, want });
}

function encodePem(der: Uint8Array): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}
