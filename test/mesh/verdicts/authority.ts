import type { Extension } from "@peculiar/x509";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { KeyObject, randomBytes, type webcrypto } from "node:crypto";

/** Issues certificates of every kind, right and wrong, for the same mesh CA. */

const { subtle } = globalThis.crypto;
const HOUR = 3_600_000;

export const KEYS = {
  "P-256": { name: "ECDSA", namedCurve: "P-256" },
  "P-384": { name: "ECDSA", namedCurve: "P-384" },
  "P-521": { name: "ECDSA", namedCurve: "P-521" },
  "RSA-2048": {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: "SHA-256",
  },
  Ed25519: { name: "Ed25519" },
} as const;
export type KeyKind = keyof typeof KEYS;

export interface Holder {
  readonly name: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export interface Issued extends Holder {
  readonly certificate: X509Certificate;
}

/** How a certificate differs from one of the mesh. */
export interface Shape {
  readonly subject?: string;
  readonly key?: KeyKind;
  readonly hash?: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";
  /** In relation to now. */
  readonly fromMs?: number;
  readonly untilMs?: number;
  /** Undefined: as for a workload; null: no such extension. */
  readonly isCa?: boolean | null;
  readonly pathLength?: number;
  readonly usages?: readonly string[] | null;
  readonly keyUsage?: number | null;
  readonly names?: readonly JsonGeneralName[] | null;
  readonly others?: readonly Extension[];
}

const USUAL = [ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth];

export async function keysOf(kind: KeyKind): Promise<webcrypto.CryptoKeyPair> {
  return (await subtle.generateKey(KEYS[kind], true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
}

export async function issue(issuer: Holder, shape: Shape = {}, own?: webcrypto.CryptoKeyPair): Promise<Issued> {
  const { subject = "CN=workload", key = "P-256", hash = "SHA-256", fromMs = -2 * HOUR, untilMs = HOUR } = shape;
  const { isCa = false, pathLength, usages = USUAL, keyUsage = KeyUsageFlags.digitalSignature } = shape;
  const { names = [{ type: "dns", value: "web" }], others = [] } = shape;
  const keys = own ?? (await keysOf(key));
  const extensions: Extension[] = [...others];
  if (isCa !== null) extensions.push(new BasicConstraintsExtension(isCa, pathLength, true));
  if (keyUsage !== null) extensions.push(new KeyUsagesExtension(keyUsage, true));
  if (usages !== null) extensions.push(new ExtendedKeyUsageExtension([...usages]));
  if (names !== null) extensions.push(new SubjectAlternativeNameExtension([...names]));
  const certificate = await X509CertificateGenerator.create({
    serialNumber: randomBytes(8).toString("hex"),
    subject,
    issuer: issuer.name,
    notBefore: new Date(Date.now() + fromMs),
    notAfter: new Date(Date.now() + untilMs),
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: { name: issuer.keys.privateKey.algorithm.name, hash } as webcrypto.EcdsaParams,
    extensions,
  });
  return { name: subject, keys, certificate };
}

/** A CA of the mesh's form. */
export async function authority(issuer: Holder | undefined, shape: Shape = {}): Promise<Issued> {
  const { subject = "CN=Contrast mesh CA", key = "P-256" } = shape;
  const keys = await keysOf(key);
  const usages = { keyUsage: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, usages: null, names: null };
  return issue(
    issuer ?? { name: subject, keys },
    { subject, isCa: true, untilMs: 2 * HOUR, ...usages, ...shape },
    keys,
  );
}

export const pem = (...certificates: readonly X509Certificate[]): string =>
  certificates.map((one) => `${one.toString("pem")}\n`).join("");

/** PEM, PKCS#8. */
export const keyOf = ({ keys }: Holder): string =>
  KeyObject.from(keys.privateKey).export({ format: "pem", type: "pkcs8" });

/** The certificate with one bit of its signature the other way round. */
export function damaged(certificate: X509Certificate): X509Certificate {
  const bytes = Buffer.from(certificate.rawData);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  return new X509Certificate(bytes);
}
