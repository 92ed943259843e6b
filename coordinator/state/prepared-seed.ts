import { Refusal } from "../../api/refusal.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { SEED_LENGTH } from "../../pki/seed-share.ts";
import { Secret } from "../../runtime/secret.ts";
import { SALT_LENGTH, SeedEngine } from "./seed.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * The seed that a rekey would bring into force. It is made before owners sign, because their signatures cover the root CA
 * key that it gives: so nobody else can choose it. It is in this Coordinator's memory alone, sealed under nothing, and
 * one at a time: whoever asks again is told the same, until a set or a recovery ends what it was to follow.
 */
export interface PreparedSeed {
  readonly engine: SeedEngine;
  /** What the rekey follows. */
  readonly after: Snapshot;
  /** Until when it is kept. */
  readonly until: Date;
}

/** Owners who sign one after another, far from any Coordinator, have that long. Each who asks gives them as long again. */
export const PREPARED_MS = 7 * 24 * 3600 * 1000;

export function prepareSeed(
  before: PreparedSeed | undefined,
  after: Snapshot,
  now: Date,
  random: (length: number) => Buffer,
): PreparedSeed {
  const kept = isGood(before, after, now) ? before.engine : undefined;
  const engine = kept ?? new SeedEngine(new Secret(random(SEED_LENGTH)), random(SALT_LENGTH));
  return { engine, after, until: new Date(now.getTime() + PREPARED_MS) };
}

/**
 * @param after what is in force; undefined: nothing was ever set
 * @param rootKey SHA-256 of the SubjectPublicKeyInfo that owners have signed
 * @throws Refusal `rekey_not_prepared`
 */
export function requirePrepared(
  prepared: PreparedSeed | undefined,
  rootKey: Uint8Array,
  after: Snapshot | undefined,
  now: Date,
): SeedEngine {
  const isThere = isGood(prepared, after, now);
  const known = isThere ? spkiDigest(prepared.engine.rootKey.publicKey) : undefined;
  if (isThere && known !== undefined && isEqual(known, rootKey)) return prepared.engine;
  throw new Refusal("rekey_not_prepared", "this Coordinator has not prepared the seed of this root CA key", {
    where: "the new root CA key",
    got: Buffer.from(rootKey).toString("hex"),
    want: known === undefined ? "a prepared one; there is none" : toHex(known),
    hint:
      "a prepared seed is in the memory of one Coordinator, until a restart, a set, a recovery, or 7 days after it was " +
      "asked for: run `contrast rekey --prepare` again, on the Coordinator that is to rekey, and sign what it says",
  });
}

function isGood(prepared: PreparedSeed | undefined, after: Snapshot | undefined, now: Date): prepared is PreparedSeed {
  if (prepared === undefined || after === undefined) return false;
  return now < prepared.until && isEqual(prepared.after.latest.raw, after.latest.raw);
}
