import { createCipheriv, createDecipheriv } from "node:crypto";
import { u32be, u64be } from "../../bytes/numbers.ts";
import { deriveBytes } from "../../pki/derive.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { SEED_LENGTH } from "../../pki/seed-share.ts";
import { Secret } from "../../runtime/secret.ts";
import { deriveWorkloadSecret, SALT_LENGTH, type SeedEngine } from "./seed.ts";

/**
 * The seeds of before a rekey, so that workloads can read for a while what they wrote with their earlier secrets. They are
 * sealed under the seed in force and part of the seed shares' record; never the other way round, for whoever has an
 * earlier seed must learn nothing of a later one.
 *
 * sealed: nonce (12) ‖ AES-256-GCM of (seed (32) ‖ salt (32)) ‖ tag (16)
 * key: HKDF-SHA256 of the seed in force, with its salt, info "contrast earlier seed sealing key"
 * additional data: "contrast-earlier-seed-v1" ‖ 0x00 ‖ SHA-256 of the SubjectPublicKeyInfo of the root CA in force
 *   ‖ version u32be ‖ replaced u64be ‖ until u64be
 */
export interface EarlierSeed {
  /** Of the workload secrets that it gives: 1 is that of the first seed. */
  readonly version: number;
  /** When a rekey replaced it, in milliseconds since 1970. */
  readonly replaced: number;
  /** When the window that the manifest of that rekey named is over, the same. */
  readonly until: number;
  readonly sealed: Uint8Array;
}

/** An earlier secret of a workload. */
export interface EarlierSecret extends Pick<EarlierSeed, "version" | "until"> {
  readonly secret: Secret;
}

const NONCE = 12;
const TAG = 16;
export const SEALED_LENGTH = NONCE + SEED_LENGTH + SALT_LENGTH + TAG;

/** So many seeds are kept, the latest. */
const MOST = 16;

const CIPHER = "aes-256-gcm";
const DOMAIN = Buffer.from("contrast-earlier-seed-v1\0");

type Facts = Omit<EarlierSeed, "sealed">;
/** What opens a seed: the seed itself, and its salt. */
type Opened = Pick<SeedEngine, "seed" | "salt">;

/** @param nonce 12 bytes, never the same again @throws RangeError where it is not that long */
export function sealSeed(inForce: SeedEngine, earlier: Opened, facts: Facts, nonce: Uint8Array): EarlierSeed {
  if (nonce.length !== NONCE) throw new RangeError(`a nonce has ${NONCE} bytes`);
  const cipher = createCipheriv(CIPHER, sealingKey(inForce), nonce, { authTagLength: TAG });
  cipher.setAAD(additionalData(inForce, facts));
  const text = [cipher.update(earlier.seed.reveal()), cipher.update(earlier.salt), cipher.final()];
  return { ...facts, sealed: Buffer.concat([nonce, ...text, cipher.getAuthTag()]) };
}

/** @throws an error of OpenSSL where it was not sealed under this seed, or with these facts */
export function openSealed(inForce: SeedEngine, { sealed, ...facts }: EarlierSeed): Opened {
  const [nonce, text, tag] = [sealed.subarray(0, NONCE), sealed.subarray(NONCE, -TAG), sealed.subarray(-TAG)];
  const decipher = createDecipheriv(CIPHER, sealingKey(inForce), nonce, { authTagLength: TAG });
  decipher.setAAD(additionalData(inForce, facts)).setAuthTag(tag);
  const opened = Buffer.concat([decipher.update(text), decipher.final()]);
  return { seed: new Secret(opened.subarray(0, SEED_LENGTH)), salt: opened.subarray(SEED_LENGTH) };
}

/** When it is read no more: as the manifest of its rekey said, or earlier, if the one in force says so. */
function endOf({ replaced, until }: Facts, overlapMs: number): number {
  return Math.min(until, replaced + overlapMs);
}

interface Seeds {
  readonly seed: SeedEngine;
  readonly seedShares: { readonly secretVersion: number; readonly earlier: readonly EarlierSeed[] };
}

/**
 * What the new seed keeps of those before it. What is not readable any more is gone with the old seed.
 *
 * @param overlapMs of the manifest that comes with the rekey
 */
export function earlierAfterRekey(
  { seed, seedShares: { secretVersion, earlier } }: Seeds,
  next: SeedEngine,
  { overlapMs, now, random }: { overlapMs: number; now: Date; random: (length: number) => Uint8Array },
): EarlierSeed[] {
  if (overlapMs === 0) return [];
  const replaced = now.getTime();
  const kept = earlier
    .filter((one) => replaced < endOf(one, overlapMs))
    .map(({ sealed, ...facts }) => ({ opened: openSealed(seed, { sealed, ...facts }), facts }));
  const last = { opened: seed, facts: { version: secretVersion, replaced, until: replaced + overlapMs } };
  return [...kept, last].slice(-MOST).map(({ opened, facts }) => sealSeed(next, opened, facts, random(NONCE)));
}

/** @returns the earlier secrets of a workload that can still be read, oldest first */
export function earlierSecrets(seeds: Seeds, workloadSecretId: string, overlapMs: number, now: Date): EarlierSecret[] {
  return readableSeeds(seeds, overlapMs, now).map(({ version, until, seed, salt }) => {
    return { version, until, secret: deriveWorkloadSecret(seed, salt, workloadSecretId) };
  });
}

/** @returns the earlier seeds whose window is open, oldest first */
export function readableSeeds(
  { seed, seedShares: { earlier } }: Seeds,
  overlapMs: number,
  now: Date,
): (Pick<EarlierSeed, "version" | "until"> & Opened)[] {
  return earlier
    .map((one) => ({ one, until: endOf(one, overlapMs) }))
    .filter(({ until }) => now.getTime() < until)
    .map(({ one, until }) => ({ version: one.version, until, ...openSealed(seed, one) }));
}

function sealingKey({ seed, salt }: SeedEngine): Uint8Array {
  return deriveBytes(seed, salt, "contrast earlier seed sealing key", 32);
}

function additionalData({ rootKey }: SeedEngine, { version, replaced, until }: Facts): Uint8Array {
  return Buffer.concat([
    DOMAIN,
    spkiDigest(rootKey.publicKey),
    u32be(version),
    u64be(BigInt(replaced)),
    u64be(BigInt(until)),
  ]);
}
