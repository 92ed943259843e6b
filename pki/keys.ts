import { createHash, createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { isWithinRsaLimits } from "./rsa-limits.ts";

const generate = promisify(generateKeyPair);

/** The curves in use: P-256 where connections are made with the key, P-384 for the root and for owners. */
export type Curve = "P-256" | "P-384";

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function generateEcKey(curve: Curve): Promise<KeyPair> {
  return generate("ec", { namedCurve: curve });
}

/** Whether it is an RSA key within RSA_LIMITS. */
export function isUsableRsa({ asymmetricKeyType, asymmetricKeyDetails = {} }: KeyObject): boolean {
  const { modulusLength: bits = 0, publicExponent: exponent = 0n } = asymmetricKeyDetails;
  return asymmetricKeyType === "rsa" && isWithinRsaLimits({ bits, exponent });
}

/** A pair from its private half. */
export function keyPairOf(privateKey: KeyObject): KeyPair {
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

/** SubjectPublicKeyInfo, DER (RFC 5280 §4.1.2.7). Not to be written to. */
export function spki(publicKey: KeyObject): Uint8Array {
  let encoding = encodings.get(publicKey);
  if (encoding === undefined) {
    encoding = publicKey.export({ type: "spki", format: "der" });
    encodings.set(publicKey, encoding);
  }
  return encoding;
}

/** An export takes OpenSSL as long as two signatures do, and one key is asked for many times. */
const encodings = new WeakMap<KeyObject, Uint8Array>();

/**
 * A key from its encoding, which is kept: `spki` does not ask OpenSSL for it again.
 *
 * @param encoding SubjectPublicKeyInfo, DER, of which it is known that it is the one that OpenSSL would make of the key
 * @throws where it is no key, as a point that is not on its curve
 */
export function publicKeyFromSpki(encoding: Uint8Array): KeyObject {
  const key = createPublicKey({ key: encoding, type: "spki", format: "der" });
  encodings.set(key, encoding);
  return key;
}

/** SHA-256 of the SubjectPublicKeyInfo: the name by which keys are pinned here. 32 bytes. */
export function spkiDigest(publicKey: KeyObject): Uint8Array {
  return createHash("sha256").update(spki(publicKey)).digest();
}

/** PKCS#8, PEM. */
export function privateKeyPem(privateKey: KeyObject): string {
  return privateKey.export({ type: "pkcs8", format: "pem" });
}
