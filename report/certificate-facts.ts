import type { Certificate } from "../attestation/x509.ts";
import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { generationOf } from "../manifest/generation-extensions.ts";
import { encodeBitString, encodeSequence } from "../pki/der-writer.ts";
import { readSpki } from "../pki/spki.ts";
import { distinguishedName } from "./distinguished-name.ts";

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

export function certificateFacts(name: string, certificate: Certificate): CertificateFacts {
  const { subject, issuer, serial, spki, notBefore, notAfter } = certificate;
  const der = encode(certificate);
  return {
    name,
    subject: distinguishedName(subject),
    issuer: distinguishedName(issuer),
    serial: serialOf(serial),
    key: keyType(spki),
    sha256: sha256Hex(der),
    keySha256: sha256Hex(spki),
    notBefore: notBefore.toISOString(),
    notAfter: notAfter.toISOString(),
    generation: generationOf(der)?.number ?? null,
  };
}

/** As OpenSSL has it: a zero before the number says only that it is not negative, and AMD's chips have the number 0. */
function serialOf(integer: Uint8Array): string {
  return toHex(integer[0] === 0 ? integer.subarray(1) : integer) || "0";
}

/** Of a chain that was verified, from the leaf to the vendor's root. */
export function chainFacts(path: readonly Certificate[]): CertificateFacts[] {
  return path.map((certificate) => certificateFacts(certificate.commonName, certificate));
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

/** @param spki SubjectPublicKeyInfo, DER */
export function keyType(spki: Uint8Array): string {
  try {
    const key = readSpki(spki);
    return key.kind === "ec" ? `ECDSA ${key.curve}` : `RSA ${key.bits}`;
  } catch (error) {
    if (error instanceof MalformedBytes) return "unknown";
    throw error;
  }
}

/** The parser accounts for every byte, so these are the bytes that it read. */
function encode({ tbs, signatureAlgorithm, signature }: Certificate): Uint8Array {
  return encodeSequence(tbs, signatureAlgorithm, encodeBitString(signature));
}
