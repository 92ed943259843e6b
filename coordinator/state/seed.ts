import { deriveBytes, deriveP384Key } from "../../pki/derive.ts";
import type { KeyPair } from "../../pki/keys.ts";
import { SEED_LENGTH } from "../../pki/seed-share.ts";
import { Secret } from "../../runtime/secret.ts";

/**
 * The seed from which everything that must survive an update and a recovery is derived (docs/design.md §7). The texts
 * below are part of every deployment's state: changing one changes keys and secrets that exist.
 */
export const SALT_LENGTH = 32;

export class SeedEngine {
  /** 32 bytes. */
  readonly seed: Secret;
  /** 32 bytes, not secret. */
  readonly salt: Buffer;
  readonly rootKey: KeyPair;
  readonly historyKey: KeyPair;

  /** @param seed 32 bytes, from a random source @param salt 32 bytes, not secret */
  constructor(seed: Secret, salt: Uint8Array) {
    if (seed.reveal().length !== SEED_LENGTH) throw new RangeError(`a seed has ${SEED_LENGTH} bytes`);
    if (salt.length !== SALT_LENGTH) throw new RangeError(`a salt has ${SALT_LENGTH} bytes`);
    this.seed = seed;
    this.salt = Buffer.from(salt);
    this.rootKey = deriveP384Key(seed, salt, "contrast root CA key");
    this.historyKey = deriveP384Key(seed, salt, "contrast history key");
  }

  /** The secret of a workload: 32 bytes that depend on nothing but the seed and the id. */
  workloadSecret(workloadSecretId: string): Secret {
    return new Secret(deriveBytes(this.seed, this.salt, `contrast workload secret: ${workloadSecretId}`, SEED_LENGTH));
  }
}
