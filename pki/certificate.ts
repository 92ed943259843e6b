import { createHash, type KeyObject, randomBytes, sign } from "node:crypto";
import { toBase64 } from "../bytes/encode.ts";
import { ipOctets } from "../bytes/ip-address.ts";
import { readDer, TAG } from "./der.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "./der-writer.ts";
import { type KeyPair, spki } from "./keys.ts";

/** Makes X.509 certificates (RFC 5280 §4). Signatures are ECDSA (RFC 5758 §3.2), or RSA where an owner has such a key. */

/** A name that a certificate vouches for; DNS names and URIs are ASCII. */
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
  /** As of a leaf. */
  readonly extensions?: ReadonlyMap<string, Uint8Array>;
}

export interface LeafRequest extends Validity {
  readonly subject: string;
  readonly publicKey: KeyObject;
  readonly issuer: Issuer;
  readonly names: readonly SubjectName[];
  /** Further extensions, not critical: object identifier to DER value. */
  readonly extensions?: ReadonlyMap<string, Uint8Array>;
}

/** A CA certificate, PEM. */
export function issueCa(request: CaRequest): string {
  const constraints = encodeSequence(TRUE, encodeInteger(request.pathLength));
  return issue(request, [
    encodeExtension("2.5.29.19", constraints, true),
    CA_KEY_USAGE,
    ...encodeExtensions(request.extensions),
  ]);
}

/** A leaf certificate for both ends of TLS, PEM. */
export function issueLeaf(request: LeafRequest): string {
  return issue(request, leafExtensions(request));
}

/** What of a leaf is as long as its names and further extensions make it. */
export function leafExtensions({
  names,
  extensions,
}: Pick<LeafRequest, "names" | "extensions">): readonly Uint8Array[] {
  const encoded = names.map(encodeName);
  return [
    ...LEAF_EXTENSIONS,
    ...(encoded.length > 0 ? [encodeExtension("2.5.29.17", encodeSequence(...encoded))] : []),
    ...encodeExtensions(extensions),
  ];
}

const TRUE = encodeDer(TAG.boolean, Buffer.of(0xff));

/** keyCertSign and cRLSign. */
const CA_KEY_USAGE = encodeExtension("2.5.29.15", encodeBitString(Buffer.of(0x06), 1), true);

const LEAF_EXTENSIONS = [
  encodeExtension("2.5.29.19", encodeSequence(), true),
  // digitalSignature
  encodeExtension("2.5.29.15", encodeBitString(Buffer.of(0x80), 7), true),
  // clientAuth, serverAuth
  encodeExtension("2.5.29.37", encodeSequence(encodeOid("1.3.6.1.5.5.7.3.2"), encodeOid("1.3.6.1.5.5.7.3.1"))),
];

function issue(
  { subject, publicKey, issuer, notBefore, notAfter }: CaRequest | LeafRequest,
  extensions: readonly Uint8Array[],
): string {
  const { algorithm, hash } = signatureOf(issuer.key.publicKey);
  const keyIdentifiers = [
    encodeExtension("2.5.29.14", encodeDer(TAG.octetString, keyIdentifier(publicKey))),
    // [0] IMPLICIT keyIdentifier
    encodeExtension("2.5.29.35", encodeSequence(encodeDer(0x80, keyIdentifier(issuer.key.publicKey)))),
  ];
  const tbs = encodeSequence(
    encodeDer(TAG.context(0), encodeInteger(2)),
    encodeDer(TAG.integer, serialNumber()),
    algorithm,
    encodeCommonName(issuer.name),
    encodeSequence(encodeTime(notBefore), encodeTime(notAfter)),
    encodeCommonName(subject),
    spki(publicKey),
    encodeDer(TAG.context(3), encodeSequence(...extensions, ...keyIdentifiers)),
  );
  return pem(encodeSequence(tbs, algorithm, encodeBitString(sign(hash, tbs, issuer.key.privateKey))));
}

const ECDSA_SHA256 = { hash: "sha256", algorithm: encodeSequence(encodeOid("1.2.840.10045.4.3.2")) };
const ECDSA_SHA384 = { hash: "sha384", algorithm: encodeSequence(encodeOid("1.2.840.10045.4.3.3")) };
const RSA_SHA256 = {
  hash: "sha256",
  algorithm: encodeSequence(encodeOid("1.2.840.113549.1.1.11"), encodeDer(TAG.null)),
};

function signatureOf(key: KeyObject): typeof ECDSA_SHA256 {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === "prime256v1") return ECDSA_SHA256;
  if (curve === "secp384r1") return ECDSA_SHA384;
  if (key.asymmetricKeyType === "rsa") return RSA_SHA256;
  throw new TypeError(`no certificate by a key of type ${key.asymmetricKeyType ?? "?"} ${curve ?? ""}`);
}

function encodeExtensions(extensions: ReadonlyMap<string, Uint8Array> = new Map()): Uint8Array[] {
  return [...extensions].map(([oid, value]) => encodeExtension(oid, value));
}

function encodeExtension(oid: string, value: Uint8Array, critical = false): Uint8Array {
  return encodeSequence(encodeOid(oid), ...(critical ? [TRUE] : []), encodeDer(TAG.octetString, value));
}

/** A GeneralName (RFC 5280 §4.2.1.6): dNSName [2], uniformResourceIdentifier [6], iPAddress [7], all IMPLICIT. */
function encodeName({ kind, value }: SubjectName): Uint8Array {
  if (kind === "ip") return encodeDer(0x87, ipOctets(value));
  // What is not ASCII would be cut to it, and the certificate would vouch for another name.
  if (!/^[!-~]+$/.test(value)) throw new TypeError(`no name of a certificate: ${JSON.stringify(value)}`);
  return encodeDer(kind === "dns" ? 0x82 : 0x86, Buffer.from(value, "latin1"));
}

function encodeCommonName(name: string): Uint8Array {
  const attribute = encodeSequence(encodeOid("2.5.4.3"), encodeDer(TAG.utf8String, Buffer.from(name)));
  return encodeSequence(encodeDer(TAG.set, attribute));
}

/** SHA-1 of the bits of the key: method 1 of RFC 5280 §4.2.1.2. A name by which keys are found, not a proof. */
function keyIdentifier(publicKey: KeyObject): Uint8Array {
  const known = identifiers.get(publicKey);
  if (known !== undefined) return known;
  const bits = readDer(spki(publicKey), "SubjectPublicKeyInfo", (der) =>
    der.sequence("SubjectPublicKeyInfo", (info) => {
      info.element(TAG.sequence, "algorithm");
      return info.bitString("subjectPublicKey", true);
    }),
  );
  const identifier = createHash("sha1").update(bits).digest();
  identifiers.set(publicKey, identifier);
  return identifier;
}

const identifiers = new WeakMap<KeyObject, Uint8Array>();

/** 16 random bytes, positive and of full length (RFC 5280 §4.1.2.2 allows 20). */
function serialNumber(): Uint8Array {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8() & 0x3f) | 0x40);
  return bytes;
}

function pem(der: Uint8Array): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}
