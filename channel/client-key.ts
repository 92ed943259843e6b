import { constants, createHash, type KeyObject, type SignKeyObjectInput, sign, verify } from "node:crypto";
import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { type DerReader, readDer, TAG } from "../pki/der.ts";
import { type KeyPair, publicKeyFromSpki, spki } from "../pki/keys.ts";
import { RSA_LIMITS } from "../pki/rsa-limits.ts";
import { ChannelError } from "./error.ts";

/**
 * Who a client is: a key, and a signature by it over this connection. TLS could carry both in a certificate, but then
 * OpenSSL verifies every signature of whatever chain the client sends, for as long as that takes, before anybody is
 * asked. Here type, size and exponent of the key are read first, and what is left to verify is one signature of known
 * cost.
 *
 * signed: "contrast-channel-client-key-v1" ‖ 0x00 ‖ exporter (64) ‖ SHA-256 of the SubjectPublicKeyInfo
 */
const DOMAIN = Buffer.from("contrast-channel-client-key-v1\0");

/** A key of RSA-8192 with an exponent of 32 bits, with some room. */
export const MAX_PUBLIC_KEY = 1100;

const OID = { ec: "1.2.840.10045.2.1", rsa: "1.2.840.113549.1.1.1" } as const;

/** RFC 5480 §2.1.1.1, with the length of a coordinate and the hash of RFC 8446 §4.2.3. */
const CURVES: Readonly<Record<string, { readonly coordinate: number; readonly hash: string }>> = {
  "1.2.840.10045.3.1.7": { coordinate: 32, hash: "sha256" },
  "1.3.132.0.34": { coordinate: 48, hash: "sha384" },
  "1.3.132.0.35": { coordinate: 66, hash: "sha512" },
};

const RSA = {
  hash: "sha256",
  minBytes: RSA_LIMITS.minBits / 8,
  maxBytes: RSA_LIMITS.maxBits / 8,
  maxExponentBytes: RSA_LIMITS.maxExponentBits / 8,
} as const;

/** What it takes to verify a signature by a key. */
type Scheme = { readonly kind: "ec" | "rsa"; readonly hash: string; readonly maxSignature: number };

export interface ClientKey {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

/** @throws ChannelError `client_key` where the key is of a kind that a server does not take */
export function proveClientKey(keys: KeyPair, exporter: Uint8Array): ClientKey {
  const publicKey = spki(keys.publicKey);
  const scheme = schemeOf(publicKey);
  const signature = sign(scheme.hash, toBeSigned(exporter, publicKey), keyInput(scheme, keys.privateKey));
  return { publicKey, signature };
}

/**
 * @returns the key of the client of this connection
 * @throws ChannelError `client_key`
 */
export function verifyClientKey({ publicKey, signature }: ClientKey, exporter: Uint8Array): KeyObject {
  const scheme = schemeOf(publicKey);
  const refusal = (got: string): ChannelError =>
    new ChannelError("client_key", "the client has not proven to have its key", { where: "ClientHello", got });
  if (signature.length > scheme.maxSignature) throw refusal(`a signature of ${signature.length} bytes`);
  let key: KeyObject;
  try {
    // It was read strictly: there is one encoding of each key.
    key = publicKeyFromSpki(publicKey);
  } catch {
    // A point that is not on its curve.
    throw refusal("a key that is none");
  }
  if (verify(scheme.hash, toBeSigned(exporter, publicKey), keyInput(scheme, key), signature)) return key;
  throw refusal("a signature that is not by this key over this connection");
}

function toBeSigned(exporter: Uint8Array, publicKey: Uint8Array): Uint8Array {
  return Buffer.concat([DOMAIN, exporter, createHash("sha256").update(publicKey).digest()]);
}

/** ECDSA (DER), or RSASSA-PSS with a salt as long as the hash (RFC 8446 §4.2.3). */
function keyInput({ kind }: Scheme, key: KeyObject): SignKeyObjectInput {
  if (kind === "ec") return { key, dsaEncoding: "der" };
  return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
}

/**
 * Reads what a key is, strictly, from its bytes alone: what OpenSSL would spend on a modulus of 16384 bits with an
 * exponent as long is spent on nobody.
 */
function schemeOf(publicKey: Uint8Array): Scheme {
  if (publicKey.length > MAX_PUBLIC_KEY) throw notTaken(`${publicKey.length} bytes`);
  try {
    return readDer(publicKey, "SubjectPublicKeyInfo", (der) =>
      der.sequence("SubjectPublicKeyInfo", (info) => {
        const [algorithm, curve] = info.sequence("algorithm", readAlgorithm);
        const key = info.bitString("subjectPublicKey", true);
        return algorithm === OID.ec ? ecScheme(curve, key) : rsaScheme(key);
      }),
    );
  } catch (error) {
    if (error instanceof MalformedBytes) throw notTaken(`${error.field}: ${error.got}`);
    throw error;
  }
}

function readAlgorithm(der: DerReader): [algorithm: string, curve: string] {
  const algorithm = der.oid("algorithm");
  if (algorithm === OID.ec) return [algorithm, der.oid("namedCurve")];
  if (algorithm !== OID.rsa) throw notTaken(algorithm);
  der.nested(TAG.null, "parameters", () => undefined);
  return [algorithm, ""];
}

function ecScheme(curve: string, point: Uint8Array): Scheme {
  const known = Object.hasOwn(CURVES, curve) ? CURVES[curve] : undefined;
  if (known === undefined) throw notTaken(`the curve ${curve}`);
  const { coordinate, hash } = known;
  if (point[0] !== 0x04 || point.length !== 1 + 2 * coordinate) throw notTaken("a point that is compressed, or none");
  // Two integers, each with a sign and a head, in a sequence.
  return { kind: "ec", hash, maxSignature: 2 * (coordinate + 3) + 3 };
}

function rsaScheme(key: Uint8Array): Scheme {
  const [modulus, exponent] = readDer(key, "RSAPublicKey", (der) =>
    der.sequence(
      "RSAPublicKey",
      (rsa) => [unsigned(rsa.integer("modulus")), unsigned(rsa.integer("exponent"))] as const,
    ),
  );
  const { hash, minBytes, maxBytes, maxExponentBytes } = RSA;
  if (modulus.length < minBytes || modulus.length > maxBytes) throw notTaken(`RSA of ${modulus.length * 8} bits`);
  const isOdd = (exponent.at(-1) ?? 0) % 2 === 1;
  // With an exponent of 1 everything is its own signature.
  if (exponent.length > maxExponentBytes || !isOdd || (exponent.length === 1 && exponent[0] === 1)) {
    throw notTaken(`RSA with an exponent of ${exponent.length} bytes, ${toHex(exponent.subarray(0, 8))}`);
  }
  return { kind: "rsa", hash, maxSignature: modulus.length };
}

/** Without the byte that keeps it from being negative. */
function unsigned(integer: Uint8Array): Uint8Array {
  return integer[0] === 0 ? integer.subarray(1) : integer;
}

function notTaken(got: string): ChannelError {
  return new ChannelError("client_key", "the client's key is of a kind that is not taken here", {
    where: "ClientHello",
    got,
    want: "ECDSA on P-256, P-384 or P-521, or RSA of 2048 to 8192 bits with an odd exponent of at most 32",
  });
}
