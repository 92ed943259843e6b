import { createHash, timingSafeEqual } from "node:crypto";
import { Refusal } from "../../api/refusal.ts";
import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { u32be, u64be } from "../../bytes/numbers.ts";
import { combineShares, encryptShare, MalformedShares, requireShareForm, splitSeed } from "../../pki/seed-share.ts";
import type { Secret } from "../../runtime/secret.ts";
import { type EarlierSeed, SEALED_LENGTH } from "./earlier-seeds.ts";
import { SALT_LENGTH, SeedEngine } from "./seed.ts";

/**
 * Who can bring the seed back, and with what: part of every transition. They are made by the first set, and anew by one
 * that names other owners or another threshold. Then they are of the same seed: whoever could open the ones before still
 * can, and has the seed for ever.
 *
 * version u8 (1 or 2) ‖ threshold u8 ‖ salt (32) ‖ rekeys (version 2 only) ‖ for each owner, in the order of the manifest:
 *   length u32be ‖ SubjectPublicKeyInfo ‖ length u32be ‖ encrypted share ‖ SHA-256 of the share (threshold above 1 only)
 * rekeys: version of the workload secrets u32be, from 2 ‖ number of earlier seeds u8 ‖ for each, by ascending version:
 *   version u32be ‖ replaced u64be ‖ until u64be ‖ sealed (92) (earlier-seeds.ts)
 *
 * Version 2 is that of a deployment that was rekeyed.
 *
 * A share has 256 bits of entropy, so its digest tells nobody the share. It tells a wrong share from a right one before
 * all are there; with a threshold of 1 the signature of the history does that.
 */
export interface SeedShares {
  /** How many owners it takes. */
  readonly threshold: number;
  /** 32 bytes, not secret. */
  readonly salt: Uint8Array;
  readonly shares: readonly SeedShare[];
  /** Of the workload secrets: 1, and one more for each rekey. */
  readonly secretVersion: number;
  /** By ascending version. */
  readonly earlier: readonly EarlierSeed[];
}

export interface SeedShare {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** The encrypted share; with a threshold of 1 it is the seed. */
  readonly encryptedSeed: Uint8Array;
  /** SHA-256 of the share; undefined with a threshold of 1. */
  readonly digest: Uint8Array | undefined;
}

const DIGEST = 32;

/** @param owners DER SubjectPublicKeyInfo of RSA keys; at most 255 where the threshold is above 1 */
export async function makeSeedShares(
  seed: Secret,
  salt: Uint8Array,
  owners: readonly Uint8Array[],
  threshold: number,
): Promise<SeedShares> {
  const secrets = await splitSeed(seed, owners.length, threshold);
  const shares = owners.flatMap((publicKey, index): SeedShare[] => {
    const secret = secrets[index];
    if (secret === undefined) return [];
    const digest = threshold === 1 ? undefined : sha256(secret.reveal());
    return [{ publicKey: Buffer.from(publicKey), encryptedSeed: encryptShare(secret, publicKey), digest }];
  });
  return { threshold, salt, shares, secretVersion: 1, earlier: [] };
}

export function encodeSeedShares({ threshold, salt, shares, secretVersion, earlier }: SeedShares): Uint8Array {
  const owners = shares.flatMap(({ publicKey, encryptedSeed, digest = Buffer.alloc(0) }) => {
    return [u32be(publicKey.length), publicKey, u32be(encryptedSeed.length), encryptedSeed, digest];
  });
  if (secretVersion === 1) return Buffer.concat([Buffer.of(1, threshold), salt, ...owners]);
  const seeds = earlier.flatMap(({ version, replaced, until, sealed }) => {
    return [u32be(version), u64be(BigInt(replaced)), u64be(BigInt(until)), sealed];
  });
  const rekeys = [u32be(secretVersion), Buffer.of(earlier.length), ...seeds];
  return Buffer.concat([Buffer.of(2, threshold), salt, ...rekeys, ...owners]);
}

/** @throws MalformedBytes */
export function parseSeedShares(bytes: Uint8Array): SeedShares {
  const cursor = new Cursor(bytes);
  const version = cursor.u8("version");
  if (version !== 1 && version !== 2) throw new MalformedBytes("version", 0, String(version), "1 or 2");
  const threshold = cursor.u8("threshold");
  const salt = cursor.bytes(SALT_LENGTH, "salt");
  const rekeys = version === 1 ? { secretVersion: 1, earlier: [] } : parseRekeys(cursor);
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
  return { threshold, salt, shares, ...rekeys };
}

function parseRekeys(cursor: Cursor): Pick<SeedShares, "secretVersion" | "earlier"> {
  const start = cursor.offset;
  const secretVersion = cursor.u32be("version of the workload secrets");
  if (secretVersion < 2) {
    throw new MalformedBytes("version of the workload secrets", start, String(secretVersion), "2 or more");
  }
  const earlier: EarlierSeed[] = [];
  for (let count = cursor.u8("number of earlier seeds"); count > 0; count--) {
    const field = `earlier seed ${earlier.length}`;
    const at = cursor.offset;
    const version = cursor.u32be(`${field}, version`);
    if (version <= (earlier.at(-1)?.version ?? 0) || version >= secretVersion) {
      throw new MalformedBytes(`${field}, version`, at, String(version), `ascending, below ${secretVersion}`);
    }
    const [replaced, until] = [timeOf(cursor, `${field}, replaced`), timeOf(cursor, `${field}, until`)];
    earlier.push({ version, replaced, until, sealed: cursor.bytes(SEALED_LENGTH, `${field}, sealed`) });
  }
  return { secretVersion, earlier };
}

function timeOf(cursor: Cursor, field: string): number {
  const start = cursor.offset;
  const time = cursor.u64be(field);
  if (time <= BigInt(LATEST)) return Number(time);
  throw new MalformedBytes(field, start, String(time), `at most ${LATEST}`);
}

/** The last millisecond that a Date knows. */
const LATEST = 8.64e15;

/** What an owner gives. */
export interface GivenShare {
  /** DER SubjectPublicKeyInfo. */
  readonly ownerSpki: Uint8Array;
  readonly share: Secret;
  readonly salt: Uint8Array;
}

/** With a threshold of 1 nothing but its form tells. */
export function isShareOf(shares: SeedShares, { ownerSpki, share, salt }: GivenShare): boolean {
  const owner = shares.shares.find(({ publicKey }) => isEqual(publicKey, ownerSpki));
  return (
    formFault(() => requireShareForm(share, shares.threshold)) === undefined &&
    owner !== undefined &&
    isEqual(shares.salt, salt) &&
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
    where: `the seed share owner ${toHex(sha256(given.ownerSpki))}`,
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

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
