import { constants, createPublicKey, type KeyObject, privateDecrypt, publicEncrypt } from "node:crypto";
import { combine, split } from "shamir-secret-sharing";
import { Secret } from "../runtime/secret.ts";

/**
 * How a seed is shared among its owners (docs/design.md §7). With a threshold of 1 every share is the seed itself. With
 * a higher one it is a point of Shamir's polynomials over GF(2^8), one for each byte: a value for each byte of the
 * seed, then the place where they were taken. Each owner's share is encrypted to the owner's RSA key.
 */

export const SEED_LENGTH = 32;

/**
 * RSAES-OAEP (RFC 8017 §7.1) with SHA-256 and a fixed label: docs/design.md §7. Shares that exist depend on every part
 * of it.
 */
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

/** Shares that were not made by `splitSeed`. The message tells nothing of them. */
export class MalformedShares extends Error {
  constructor(message: string) {
    super(message);
    this.name = "MalformedShares";
  }
}

/**
 * A share has the form that `splitSeed` gave it. The values at place 0 are the seed itself, so whoever gives a share that
 * was taken there alone decides what the others' shares come to.
 *
 * @throws MalformedShares
 */
export function requireShareForm(share: Secret, threshold: number): void {
  const bytes = share.reveal();
  const length = threshold === 1 ? SEED_LENGTH : SEED_LENGTH + 1;
  if (bytes.length !== length) throw new MalformedShares(`a share has ${length} bytes, not ${bytes.length}`);
  if (threshold > 1 && placeOf(share) === 0) throw new MalformedShares("a share is not taken at place 0");
}

/**
 * @param shares as many as the threshold says; wrong ones give another seed, which the caller has to notice
 * @throws MalformedShares where they are not of that form, or two were taken at one place
 */
export async function combineShares(shares: readonly Secret[], threshold: number): Promise<Secret> {
  if (shares.length !== threshold) throw new MalformedShares(`it takes ${threshold} shares, not ${shares.length}`);
  for (const share of shares) requireShareForm(share, threshold);
  const [only] = shares;
  if (only !== undefined && threshold === 1) return only;
  if (new Set(shares.map(placeOf)).size < shares.length) throw new MalformedShares("two shares are of one place");
  return new Secret(await combine(shares.map((share) => new Uint8Array(share.reveal()))));
}

function placeOf(share: Secret): number | undefined {
  return share.reveal().at(-1);
}

/** A share, readable by the holder of an RSA key only. @param ownerSpki DER */
export function encryptShare(share: Secret, ownerSpki: Uint8Array): Uint8Array {
  const key = createPublicKey({ key: ownerSpki, type: "spki", format: "der" });
  return publicEncrypt({ key, ...ENCRYPTION }, share.reveal());
}

/** @throws the error of OpenSSL where the share is another key's, or damaged */
export function decryptShare(encrypted: Uint8Array, key: KeyObject): Secret {
  return new Secret(privateDecrypt({ key, ...ENCRYPTION }, encrypted));
}
