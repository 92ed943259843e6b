import "reflect-metadata";
import { type KeyObject, randomBytes, type webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { KeyPair } from "./keys.ts";

/** Makes X.509 certificates (RFC 5280) with ECDSA keys. */

/** A name that a certificate vouches for. */
export interface SubjectName {
  readonly kind: "dns" | "ip" | "uri";
  readonly value: string;
}

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Who signs. `name` is the subject of its certificate. */
export interface Issuer {
  readonly name: string;
  readonly key: KeyPair;
}

export interface CaRequest extends Validity {
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly issuer: Issuer;
  /** How many CAs may stand below this one. */
  readonly pathLength: number;
}

export interface LeafRequest extends Validity {
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly issuer: Issuer;
  readonly names: readonly SubjectName[];
  /** Further extensions, not critical: object identifier to DER value. */
  readonly extensions?: ReadonlyMap<string, Buffer>;
}

/** A CA certificate, PEM. */
export async function issueCa(request: CaRequest): Promise<string> {
  return issue(request, request.subject, request.issuer, request.publicKey, [
    new BasicConstraintsExtension(true, request.pathLength, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ]);
}

/** A leaf certificate for both ends of TLS, PEM. */
export async function issueLeaf(request: LeafRequest): Promise<string> {
  const names: JsonGeneralName[] = request.names.map(({ kind, value }) => ({
    type: kind === "uri" ? "url" : kind,
    value,
  }));
  return issue(request, request.subject, request.issuer, request.publicKey, [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth]),
    ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
    ...[...(request.extensions ?? [])].map(([oid, value]) => new Extension(oid, false, value)),
  ]);
}

async function issue(
  validity: Validity,
  subject: string,
  issuer: Issuer,
  publicKey: KeyObject,
  extensions: readonly Extension[],
): Promise<string> {
  const [issuerKey, signingKey, subjectKey] = [
    toCryptoKey(issuer.key.publicKey, "verify"),
    toCryptoKey(issuer.key.privateKey, "sign"),
    toCryptoKey(publicKey, "verify"),
  ];
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: commonName(subject),
    issuer: commonName(issuer.name),
    notBefore: validity.notBefore,
    notAfter: validity.notAfter,
    publicKey: subjectKey,
    signingKey,
    signingAlgorithm: { name: "ECDSA", hash: curveOf(issuer.key.publicKey) === "P-384" ? "SHA-384" : "SHA-256" },
    extensions: [
      ...extensions,
      await SubjectKeyIdentifierExtension.create(subjectKey),
      await AuthorityKeyIdentifierExtension.create(issuerKey),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

/** 16 random bytes, positive and of full length (RFC 5280 §4.1.2.2 allows 20). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8() & 0x3f) | 0x40);
  return bytes.toString("hex");
}

function commonName(name: string): { CN: string[] }[] {
  return [{ CN: [name] }];
}

function toCryptoKey(key: KeyObject, usage: "sign" | "verify"): webcrypto.CryptoKey {
  return key.toCryptoKey({ name: "ECDSA", namedCurve: curveOf(key) }, true, [usage]);
}

function curveOf(key: KeyObject): "P-256" | "P-384" {
  const name = key.asymmetricKeyDetails?.namedCurve;
  if (name === "prime256v1") return "P-256";
  if (name === "secp384r1") return "P-384";
  throw new TypeError(`no certificate for a key of type ${key.asymmetricKeyType ?? "?"} ${name ?? ""}`);
}
