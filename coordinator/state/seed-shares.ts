import { createHash, timingSafeEqual } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { u32be } from "../../bytes/numbers.ts";
import { combineShares, encryptShare, MalformedShares, requireShareForm, splitSeed } from "../../pki/seed-share.ts";
import type { Secret } from "../../runtime/secret.ts";
import { SALT_LENGTH, SeedEngine } from "./seed.ts";

/**
 * Who can bring the seed back, and with what: part of every transition. They are made by the first set, and anew by one
 * that names other owners or another threshold. Then they are of the same seed: whoever could open the ones before still
 * can, and has the seed for ever.
 *
 * version u8 (1) ‖ threshold u8 ‖ salt (32) ‖ for each owner, in the order of the manifest:
 *   length u32be ‖ SubjectPublicKeyInfo ‖ length u32be ‖ encrypted share ‖ SHA-256 of the share (threshold above 1 only)
 *
 * A share has 256 bits of entropy, so its digest tells nobody the share. It tells a wrong share from a right one before
 * all are there; with a threshold of 1 the signature of the history does that.
 */
export interface SeedShares {
  /** How many owners it takes. */
  readonly threshold: number;
  /** 32 bytes, not secret. */
  readonly salt: Buffer;
  readonly shares: readonly SeedShare[];
}

export interface SeedShare {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Buffer;
  /** The encrypted share; with a threshold of 1 it is the seed. */
  readonly encryptedSeed: Buffer;
  /** SHA-256 of the share; undefined with a threshold of 1. */
  readonly digest: Buffer | undefined;
}

const VERSION = 1;
const DIGEST = 32;

/** @param owners DER SubjectPublicKeyInfo of RSA keys; at most 255 where the threshold is above 1 */
export async function makeSeedShares(
  seed: Secret,
  salt: Buffer,
  owners: readonly Buffer[],
  threshold: number,
): Promise<SeedShares> {
  const secrets = await splitSeed(seed, owners.length, threshold);
  const shares = owners.flatMap((publicKey, index): SeedShare[] => {
    const secret = secrets[index];
    if (secret === undefined) return [];
    const digest = threshold === 1 ? undefined : sha256(secret.reveal());
    return [{ publicKey, encryptedSeed: encryptShare(secret, publicKey), digest }];
  });
  return { threshold, salt, shares };
}

export function encodeSeedShares({ threshold, salt, shares }: SeedShares): Buffer {
  const owners = shares.flatMap(({ publicKey, encryptedSeed, digest = Buffer.alloc(0) }) => {
    return [u32be(publicKey.length), publicKey, u32be(encryptedSeed.length), encryptedSeed, digest];
  });
  return Buffer.concat([Buffer.of(VERSION, threshold), salt, ...owners]);
}

/** @throws MalformedBytes */
export function parseSeedShares(bytes: Uint8Array): SeedShares {
  const cursor = new Cursor(bytes);
  const version = cursor.u8("version");
  if (version !== VERSION) throw new MalformedBytes("version", 0, String(version), String(VERSION));
  const threshold = cursor.u8("threshold");
  const salt = cursor.bytes(SALT_LENGTH, "salt");
  const shares: SeedShare[] = [];
  while (cursor.next !== undefined) {
    const field = `owner ${shares.length}`;
    shares.push({
      publicKey: cursor.bytes(cursor.u32be(`${field}, length of the key`), `${field}, key`),
      encryptedSeed: cursor.bytes(cursor.u32be(`${field}, length of the share`), `${field}, share`),
      digest: threshold === 1 ? undefined : cursor.bytes(DIGEST, `${field}, digest`),
    });
  }
  // With one owner it takes, there may be none: then nobody can recover. A threshold that can't be met is no threshold.
  if (threshold === 0 || threshold > Math.max(shares.length, 1)) {
    throw new MalformedBytes("threshold", 1, String(threshold), `1 to the number of owners, ${shares.length}`);
  }
  return { threshold, salt, shares };
}

/** What an owner gives. */
export interface GivenShare {
  /** DER SubjectPublicKeyInfo. */
  readonly ownerSpki: Buffer;
  readonly share: Secret;
  readonly salt: Uint8Array;
}

/** With a threshold of 1 nothing but its form tells. */
export function isShareOf(shares: SeedShares, { ownerSpki, share, salt }: GivenShare): boolean {
  const owner = shares.shares.find(({ publicKey }) => publicKey.equals(ownerSpki));
  return (
    formFault(() => requireShareForm(share, shares.threshold)) === undefined &&
    owner !== undefined &&
    shares.salt.equals(salt) &&
    (owner.digest === undefined || timingSafeEqual(owner.digest, sha256(share.reveal())))
  );
}

/**
 * A share must be the one that was made for its owner: a wrong one is refused at once, when it is known whose it is.
 *
 * @param replacedBy what replaced the shares that a wrong one is of, for people; undefined: it is of none
 * @throws Refusal `wrong_seed`
 */
export function requireShareOf(shares: SeedShares, given: GivenShare, replacedBy?: string): void {
  if (isShareOf(shares, given)) return;
  const fault = formFault(() => requireShareForm(given.share, shares.threshold));
  throw new Refusal("wrong_seed", "the share or its salt is not the one that was made for this owner", {
    where: `the seed share owner ${sha256(given.ownerSpki).toString("hex")}`,
    got: replacedBy === undefined ? fault?.message : `an earlier share of this owner: ${replacedBy}`,
    hint: "run `contrast verify` while the Coordinator is active: it writes the seed shares of this deployment",
  });
}

/** @param given as many as the threshold says @throws Refusal `wrong_seed` */
export async function openSeed({ threshold, salt }: SeedShares, given: readonly Secret[]): Promise<SeedEngine> {
  try {
    return new SeedEngine(await combineShares(given, threshold), salt);
  } catch (error) {
    if (!(error instanceof MalformedShares)) throw error;
    throw new Refusal("wrong_seed", "the shares do not make a seed together", { got: error.message });
  }
}

function formFault(check: () => void): MalformedShares | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (!(error instanceof MalformedShares)) throw error;
    return error;
  }
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
