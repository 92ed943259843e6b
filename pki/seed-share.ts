import { constants, createPublicKey, type KeyObject, privateDecrypt, publicEncrypt } from "node:crypto";
import { combine, split } from "shamir-secret-sharing";
import { Secret } from "../runtime/secret.ts";

/**
 * How a seed is shared among its owners (design §7). With a threshold of 1 every share is the seed itself. With a
 * higher one it is a point of Shamir's polynomials over GF(2^8), one for each byte: a value for each byte of the seed,
 * then the place where they were taken. Each owner's share is encrypted to the owner's RSA key.
 */

/** RSAES-OAEP (RFC 8017 §7.1) with SHA-256 and a fixed label: design §7. Shares that exist depend on every part of it. */
const ENCRYPTION = {
  padding: constants.RSA_PKCS1_OAEP_PADDING,
  oaepHash: "sha256",
  oaepLabel: Buffer.from("seedshare"),
} as const;

/** @param threshold of 1 to `owners`; above 1, there are at most 255 owners @returns one share for each owner */
export async function splitSeed(seed: Secret, owners: number, threshold: number): Promise<Secret[]> {
  if (threshold === 1) return Array.from({ length: owners }, () => seed);
  // The library refuses a Buffer.
  const points = await split(new Uint8Array(seed.reveal()), owners, threshold);
  return points.map((point) => new Secret(point));
}

/**
 * @param shares as many different ones as the threshold says; too few or wrong ones give another seed, which the caller
 *   has to notice
 */
export async function combineShares(shares: readonly Secret[]): Promise<Secret> {
  const [only] = shares;
  if (only !== undefined && shares.length === 1) return only;
  return new Secret(await combine(shares.map((share) => new Uint8Array(share.reveal()))));
}

/** A share, readable by the holder of an RSA key only. @param ownerSpki DER */
export function encryptShare(share: Secret, ownerSpki: Buffer): Buffer {
  const key = createPublicKey({ key: ownerSpki, type: "spki", format: "der" });
  return publicEncrypt({ key, ...ENCRYPTION }, share.reveal());
}

/** @throws the error of OpenSSL where the share is another key's, or damaged */
export function decryptShare(encrypted: Buffer, key: KeyObject): Secret {
  return new Secret(privateDecrypt({ key, ...ENCRYPTION }, encrypted));
}
