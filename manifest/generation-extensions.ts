import { parseCertificate } from "../attestation/x509.ts";
import { fromUtf8, toUtf8 } from "../bytes/encode.ts";
import { readDer, TAG } from "../pki/der.ts";
import { encodeDer } from "../pki/der-writer.ts";

/**
 * Which generation of the mesh a CA certificate belongs to, as two UTF8String extensions under the arc beside those of the
 * claims. The root signs them with the intermediate CA. So whoever trusts the root, and with it every generation, can ask
 * for a certain one, or for none before it. A leaf has none: whoever stole an old mesh key could write what he likes.
 */
const ARC = "1.3.9901.2.3";
const NUMBER = `${ARC}.1`;
const MANIFEST = `${ARC}.2`;

export interface MeshGeneration {
  /** How many manifests the history has. It stays the same over a recovery, which makes a new mesh CA. */
  readonly number: number;
  /** SHA-256 of the manifest, hex. Of two Coordinators with the same number it tells one from the other. */
  readonly manifest: string;
}

/** @returns object identifier to DER */
export function generationExtensions({ number, manifest }: MeshGeneration): ReadonlyMap<string, Uint8Array> {
  return new Map([
    [NUMBER, encodeDer(TAG.utf8String, fromUtf8(`${number}`))],
    [MANIFEST, encodeDer(TAG.utf8String, fromUtf8(manifest))],
  ]);
}

/**
 * @param certificate DER
 * @returns undefined where it names none
 * @throws EvidenceError malformed_certificate
 */
export function generationOf(certificate: Uint8Array): MeshGeneration | undefined {
  const { extensions } = parseCertificate(certificate);
  const [number, manifest] = [NUMBER, MANIFEST].map((oid) => {
    const value = extensions.get(oid)?.value;
    return value && readDer(value, oid, (der) => toUtf8(der.element(TAG.utf8String, oid).content));
  });
  if (number === undefined || manifest === undefined) return undefined;
  return /^[1-9]\d{0,14}$/.test(number) ? { number: Number(number), manifest } : undefined;
}
