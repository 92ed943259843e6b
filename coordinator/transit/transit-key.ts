import { createCipheriv, createDecipheriv } from "node:crypto";
import { u16be, u32be } from "../../bytes/numbers.ts";
import { deriveBytes } from "../../pki/derive.ts";
import type { Secret } from "../../runtime/secret.ts";
import { TransitError } from "./transit-error.ts";

/**
 * The keys of the transit engine and what is encrypted under them (docs/decisions/0048-transit.md).
 *
 * key: HKDF-SHA256 of the seed, with its salt, info "contrast transit v1" ‖ name; 32 bytes
 * name: length of the id in bytes u16be ‖ id, UTF-8 ‖ version of the key u32be
 * ciphertext: `vault:v<version>:` and, in base64, nonce (12, random) ‖ AES-256-GCM of the plaintext ‖ tag (16)
 * additional data: the name
 *
 * With random nonces, a key may encrypt 2^32 times (NIST SP 800-38D §8.3): then a new version is due.
 */
export interface KeyName {
  /** A WorkloadSecretID: at most 65,535 bytes of UTF-8. */
  readonly id: string;
  /** 1 to 2^32 - 1. */
  readonly version: number;
}

/** What keys are derived from: the seed in force, or one of before a rekey. */
export interface KeySource {
  readonly seed: Secret;
  readonly salt: Uint8Array;
}

const CIPHER = "aes-256-gcm";
const NONCE = 12;
const TAG = 16;
const DOMAIN = Buffer.from("contrast transit v1");

/** @param nonce 12 bytes, random: never the same again for this key */
export function encrypt(source: KeySource, name: KeyName, plaintext: Uint8Array, nonce: Buffer): string {
  if (nonce.length !== NONCE) throw new RangeError(`a nonce has ${NONCE} bytes`);
  const encoded = encodeName(name);
  const cipher = createCipheriv(CIPHER, keyOf(source, encoded), nonce, { authTagLength: TAG });
  cipher.setAAD(encoded);
  const parts = [nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
  return `vault:v${name.version}:${Buffer.concat(parts).toString("base64")}`;
}

/**
 * @param sources in the order in which they are tried: a ciphertext does not say which seed is its own
 * @param sealed nonce ‖ ciphertext ‖ tag
 * @throws TransitError `ciphertext_not_authentic`
 */
export function decrypt(sources: Iterable<KeySource>, name: KeyName, sealed: Buffer): Buffer {
  const encoded = encodeName(name);
  for (const source of sources) {
    const plaintext = open(keyOf(source, encoded), encoded, sealed);
    if (plaintext !== undefined) return plaintext;
  }
  throw new TransitError("ciphertext_not_authentic", "cipher: message authentication failed");
}

function open(key: Buffer, additionalData: Buffer, sealed: Buffer): Buffer | undefined {
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE), { authTagLength: TAG });
  decipher.setAAD(additionalData).setAuthTag(sealed.subarray(-TAG));
  const text = decipher.update(sealed.subarray(NONCE, -TAG));
  try {
    return Buffer.concat([text, decipher.final()]);
  } catch {
    return undefined;
  }
}

/** A ciphertext as clients have it. */
export interface Ciphertext {
  readonly version: number;
  /** nonce ‖ ciphertext ‖ tag. */
  readonly sealed: Buffer;
}

/** @throws TransitError `malformed_request`, `key_version_refused`, with the texts of Vault */
export function parseCiphertext(text: string): Ciphertext {
  const [, digits, base64 = ""] = /^vault:v(\d+):(.*)$/s.exec(text) ?? [];
  if (digits === undefined) throw malformed("invalid ciphertext: no prefix");
  // One version has one spelling, and there is none before the first.
  if (!/^[1-9]\d{0,9}$/.test(digits)) throw malformed("invalid ciphertext: version number could not be decoded");
  const version = Number(digits);
  if (version > MOST_VERSIONS) throw new TransitError("key_version_refused", "invalid ciphertext: version is too new");
  const sealed = fromBase64(base64);
  if (sealed === undefined) throw malformed("invalid ciphertext: could not decode base64");
  if (sealed.length < NONCE + TAG) throw malformed("invalid ciphertext length");
  return { version, sealed };
}

const MOST_VERSIONS = 0xffff_ffff;

/** Base64 of RFC 4648 §4, in its one canonical form. @returns undefined for anything else */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

function encodeName({ id, version }: KeyName): Buffer {
  const bytes = Buffer.from(id);
  return Buffer.concat([u16be(bytes.length), bytes, u32be(version)]);
}

function keyOf({ seed, salt }: KeySource, encodedName: Buffer): Buffer {
  return deriveBytes(seed, salt, Buffer.concat([DOMAIN, encodedName]), 32);
}

function malformed(message: string): TransitError {
  return new TransitError("malformed_request", message);
}
