import { constants, createPublicKey, type KeyObject, privateDecrypt, publicEncrypt } from "node:crypto";
import { Secret } from "../runtime/secret.ts";

/** RSAES-OAEP (RFC 8017 §7.1) with SHA-256 and a fixed label: design §7. Shares that exist depend on every part of it. */
const ENCRYPTION = {
  padding: constants.RSA_PKCS1_OAEP_PADDING,
  oaepHash: "sha256",
  oaepLabel: Buffer.from("seedshare"),
} as const;

/** The seed, readable by the holder of an RSA key only. @param ownerSpki DER */
export function encryptSeed(seed: Secret, ownerSpki: Buffer): Buffer {
  const key = createPublicKey({ key: ownerSpki, type: "spki", format: "der" });
  return publicEncrypt({ key, ...ENCRYPTION }, seed.reveal());
}

/** @throws the error of OpenSSL where the share is another key's, or damaged */
export function decryptSeed(share: Buffer, key: KeyObject): Secret {
  return new Secret(privateDecrypt({ key, ...ENCRYPTION }, share));
}
