import { generateKeyPairSync, randomBytes } from "node:crypto";
import { toBase64 } from "../bytes/encode.ts";
import { encodeBitString, encodeDer, encodeInteger, encodeOid, encodeSequence, encodeTime } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import type { Workload } from "../pki/test-mesh.ts";

/**
 * Chains of certificates that nobody signed. OpenSSL finds that out signature by signature, and the keys are such that
 * each of them takes long. The client that shows one has the key of the leaf and needs no other.
 */

/** A key of an authority, and what its signatures look like. */
export interface CostlyKey {
  /** DER: SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** DER: AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly signature: () => Uint8Array;
}

const RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
const SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";

/** OpenSSL takes an exponent as long as the modulus up to 3072 bits, and one of 64 bits up to 16384. */
export function rsaKey(modulusBits: number, exponentBits: number): CostlyKey {
  const modulus = odd(modulusBits);
  modulus[0] = 0xff;
  const exponent = odd(exponentBits);
  exponent[0] = 0xef & (exponent[0] ?? 0);
  const rsa = encodeSequence(unsigned(modulus), unsigned(exponent));
  const none = encodeDer(0x05);
  return {
    spki: encodeSequence(encodeSequence(encodeOid(RSA_ENCRYPTION), none), encodeBitString(rsa)),
    algorithm: encodeSequence(encodeOid(SHA256_WITH_RSA), none),
    signature: () => Buffer.concat([Buffer.from([0x3f]), randomBytes(modulusBits / 8 - 1)]),
  };
}

/** @param curve as OpenSSL calls it */
export function ecKey(curve: string, bits: number): CostlyKey {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: curve });
  const part = (): Uint8Array => unsigned(odd(bits - 1));
  return {
    spki: publicKey.export({ format: "der", type: "spki" }),
    algorithm: encodeSequence(encodeOid(ECDSA_WITH_SHA256)),
    signature: () => encodeSequence(part(), part()),
  };
}

/** @param authorities above the leaf */
export function costlyChain(key: CostlyKey, authorities: number): Workload {
  const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = leaf.publicKey.export({ format: "der", type: "spki" });
  const certificates = [
    certificate(0, spki, key),
    ...Array.from({ length: authorities }, (_, index) => certificate(index + 1, key.spki, key)),
  ];
  return { certChain: certificates.map(pem).join(""), key: leaf.privateKey.export({ format: "pem", type: "pkcs8" }) };
}

/** @returns the longest chain of these that is not longer than so many bytes in DER */
export function longestChain(key: CostlyKey, bytes: number): Workload {
  const each = certificate(1, key.spki, key).length + 5;
  return costlyChain(key, Math.max(1, Math.floor((bytes - 350) / each)));
}

/** Of the shortest form: version 1, without extensions. */
function certificate(index: number, spki: Uint8Array, issuer: CostlyKey): Uint8Array {
  const begin = new Date("2020-01-01T00:00:00Z");
  const end = new Date("2049-01-01T00:00:00Z");
  const tbs = encodeSequence(
    encodeInteger(index + 1),
    issuer.algorithm,
    name(index + 1),
    encodeSequence(encodeTime(begin), encodeTime(end)),
    name(index),
    spki,
  );
  return encodeSequence(tbs, issuer.algorithm, encodeBitString(issuer.signature()));
}

function name(index: number): Uint8Array {
  const text = encodeDer(0x0c, Buffer.from(String(index)));
  return encodeSequence(encodeDer(TAG.set, encodeSequence(encodeOid("2.5.4.3"), text)));
}

function odd(bits: number): Uint8Array {
  const bytes = randomBytes(Math.ceil(bits / 8));
  const first = (bits - 1) % 8;
  bytes[0] = ((bytes[0] ?? 0) & ((1 << (first + 1)) - 1)) | (1 << first);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 1;
  return bytes;
}

function unsigned(bytes: Uint8Array): Uint8Array {
  return encodeDer(TAG.integer, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes);
}

function pem(der: Uint8Array): string {
  const lines = toBase64(der).match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
