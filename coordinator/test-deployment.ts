import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KeyPair, spki } from "../pki/keys.ts";
import { decryptShare } from "../pki/seed-share.ts";
import type { Secret } from "../runtime/secret.ts";
import { FileStore } from "./file-store.ts";
import type { SeedShares } from "./seed-shares.ts";
import { type RecoverRequest, type SetRequest, StateGuard } from "./state-guard.ts";

/** For tests: a state in a directory of its own, real keys of owners, and what they ask of a Coordinator. */

export const policy = Buffer.from("the policy of a pod");
export const owner = "a".repeat(64);
export const seedshareOwners: readonly KeyPair[] = [1, 2, 3].map(() =>
  generateKeyPairSync("rsa", { modulusLength: 2048 }),
);
export const now = (): Date => new Date("2026-06-01T00:00:00Z");

export interface TestState {
  readonly directory: string;
  /** A Coordinator that was just started; the one before it is gone. */
  readonly load: (allowInsecure?: boolean) => Promise<StateGuard>;
  readonly remove: () => Promise<void>;
}

export async function makeState(): Promise<TestState> {
  const directory = await mkdtemp(join(tmpdir(), "state-test-"));
  let store: FileStore | undefined;
  return {
    directory,
    load: async (allowInsecure = true) => {
      store?.close();
      store = await FileStore.open(directory, { pid: process.pid, host: "test", since: now() });
      return StateGuard.load({ store, allowInsecure, now, random: randomBytes });
    },
    remove: async () => {
      store?.close();
      await rm(directory, { recursive: true });
    },
  };
}

interface ManifestChanges {
  readonly owners?: readonly string[];
  readonly seedshareOwners?: readonly KeyPair[];
  readonly threshold?: number;
  readonly names?: readonly string[];
}

export function manifestOf(changes: ManifestChanges = {}): Buffer {
  const { owners = [owner], seedshareOwners: shareOwners = seedshareOwners.slice(0, 1), threshold, names } = changes;
  const document = {
    Policies: {
      [createHash("sha256").update(policy).digest("hex")]: { SANs: names ?? ["web"], WorkloadSecretID: "web" },
    },
    ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
    WorkloadOwnerKeyDigests: owners,
    SeedshareOwnerPubKeys: shareOwners.map(({ publicKey }) => spki(publicKey).toString("hex")),
    ...(threshold === undefined ? {} : { SeedshareThreshold: threshold }),
  };
  return Buffer.from(JSON.stringify(document));
}

/** A set by the owner, but for the changes. */
export function setRequest(changes: Partial<SetRequest> & ManifestChanges = {}): SetRequest {
  return {
    manifest: changes.manifest ?? manifestOf(changes),
    policies: changes.policies ?? [policy],
    latestTransition: changes.latestTransition,
    callerKey: changes.callerKey ?? owner,
    signature: changes.signature,
  };
}

/** What this owner recovers with, on a connection of the owner's. */
export function recoverRequest(
  shares: SeedShares,
  keys = seedshareOwners[0],
  changes: Partial<RecoverRequest> = {},
): RecoverRequest {
  if (keys === undefined) throw new Error("no such owner");
  return {
    share: shareOf(shares, keys),
    salt: shares.salt,
    callerSpki: spki(keys.publicKey),
    force: false,
    ...changes,
  };
}

export function shareOf(shares: SeedShares, keys: KeyPair): Secret {
  const own = shares.shares.find(({ publicKey }) => publicKey.equals(spki(keys.publicKey)));
  if (own === undefined) throw new Error("no share for this owner");
  return decryptShare(own.encryptedSeed, keys.privateKey);
}
