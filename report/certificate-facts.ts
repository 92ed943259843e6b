import { type KeyObject, X509Certificate } from "node:crypto";
import type { Certificate } from "../attestation/x509.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { generationOf } from "../manifest/generation-extensions.ts";
import { encodeBitString, encodeSequence } from "../pki/der-writer.ts";
import { spki } from "../pki/keys.ts";

/** What people compare certificates by. */
export interface CertificateFacts {
  /** What it is here. */
  readonly name: string;
  readonly subject: string;
  readonly issuer: string;
  /** Hex. */
  readonly serial: string;
  /** `ECDSA P-384`, `RSA 4096`. */
  readonly key: string;
  /** SHA-256 of the DER, hex. */
  readonly sha256: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hex: keys stay where certificates are renewed, and roots are pinned by it. */
  readonly keySha256: string;
  /** ISO 8601. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** Number of the manifest that it was made for, as it says itself; null where it says nothing. */
  readonly generation: number | null;
}

/** @param certificate PEM or DER */
export function certificateFacts(name: string, certificate: string | Buffer): CertificateFacts {
  const parsed = new X509Certificate(certificate);
  return {
    name,
    subject: parsed.subject.split("\n").join(", "),
    issuer: parsed.issuer.split("\n").join(", "),
    serial: parsed.serialNumber.toLowerCase(),
    key: keyType(parsed.publicKey),
    sha256: sha256Hex(parsed.raw),
    keySha256: sha256Hex(spki(parsed.publicKey)),
    notBefore: parsed.validFromDate.toISOString(),
    notAfter: parsed.validToDate.toISOString(),
    generation: generationOf(parsed.raw)?.number ?? null,
  };
}

/** Of a chain that was verified, from the leaf to the vendor's root. */
export function chainFacts(path: readonly Certificate[]): CertificateFacts[] {
  return path.map((certificate) => certificateFacts(certificate.commonName, encode(certificate)));
}

const SOON_DAYS = 30;

/** What has to be renewed: the mesh CA by `contrast set`, the others by their vendor. */
export function expiryWarnings(certificates: readonly CertificateFacts[], at: Date): string[] {
  const soon = new Date(at.getTime() + SOON_DAYS * 24 * 3600 * 1000).toISOString();
  return certificates
    .filter(({ notAfter }) => notAfter < soon)
    .map(({ name, notAfter }) => `the certificate of ${name} ends on ${notAfter}`);
}

/** Whatever the Coordinator issued with its clock ahead lives so much longer. */
export function clockWarnings(certificates: readonly CertificateFacts[], at: Date): string[] {
  return certificates
    .filter(({ notBefore }) => notBefore > at.toISOString())
    .map(
      ({ name, notBefore }) => `the certificate of ${name} begins only on ${notBefore}: the clock may have been ahead`,
    );
}

export function keyType({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string {
  const { namedCurve = "", modulusLength } = details ?? {};
  if (type === "ec") return `ECDSA ${CURVES[namedCurve] ?? namedCurve}`;
  return `${type?.toUpperCase() ?? "unknown"} ${modulusLength ?? ""}`.trimEnd();
}

const CURVES: Readonly<Record<string, string>> = { prime256v1: "P-256", secp384r1: "P-384" };

/** The parser accounts for every byte, so these are the bytes that it read. */
function encode({ tbs, signatureAlgorithm, signature }: Certificate): Buffer {
  return encodeSequence(tbs, signatureAlgorithm, encodeBitString(signature));
}
