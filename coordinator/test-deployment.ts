import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isEqual, toHex } from "../bytes/encode.ts";
import { type Change, type ChangeAhead, changeToSign } from "../manifest/change.ts";
import type { ChangeSignature } from "../manifest/change-signature.ts";
import { type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import { decryptShare } from "../pki/seed-share.ts";
import type { Secret } from "../runtime/secret.ts";
import { FileStore } from "../store/file-store.ts";
import type { SeedShares } from "./state/seed-shares.ts";
import { StateGuard } from "./state/state-guard.ts";
import type { RecoverRequest } from "./state/recover.ts";
import type { SetRequest } from "./state/set.ts";
import type { Snapshot } from "./state/snapshot.ts";

/** For tests: a state in a directory of its own, real keys of owners, and what they ask of a Coordinator. */

export const policy = Buffer.from("the policy of a pod");
export const ownerKeys: KeyPair = generateKeyPairSync("ec", { namedCurve: "P-256" });
export const owner = toHex(spkiDigest(ownerKeys.publicKey));
export const seedshareOwners: readonly KeyPair[] = [1, 2, 3].map(() =>
  generateKeyPairSync("rsa", { modulusLength: 2048 }),
);
export const now = (): Date => new Date("2026-06-01T00:00:00Z");

export interface TestState {
  readonly directory: string;
  /** A Coordinator that was just started; the one before it is gone. */
  readonly load: (allowInsecure?: boolean) => Promise<StateGuard>;
  /** Of the Coordinator that was started last. */
  readonly store: () => FileStore;
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
    store: () => {
      if (store === undefined) throw new Error("no Coordinator was started");
      return store;
    },
    remove: async () => {
      store?.close();
      await rm(directory, { recursive: true });
    },
  };
}

interface ManifestChanges {
  readonly owners?: readonly string[];
  readonly ownerThreshold?: number;
  readonly seedshareOwners?: readonly KeyPair[];
  readonly threshold?: number;
  readonly names?: readonly string[];
  readonly certificateLifetime?: string | undefined;
  readonly meshCaOverlap?: string | undefined;
  readonly workloadSecretOverlap?: string | undefined;
}

export function manifestOf(changes: ManifestChanges = {}): Buffer {
  const { owners = [owner], seedshareOwners: shareOwners = seedshareOwners.slice(0, 1), threshold, names } = changes;
  const document = {
    Policies: {
      [createHash("sha256").update(policy).digest("hex")]: { SANs: names ?? ["web"], WorkloadSecretID: "web" },
    },
    ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
    WorkloadOwnerKeyDigests: owners,
    ...(changes.ownerThreshold === undefined ? {} : { WorkloadOwnerThreshold: changes.ownerThreshold }),
    SeedshareOwnerPubKeys: shareOwners.map(({ publicKey }) => toHex(spki(publicKey))),
    ...(threshold === undefined ? {} : { SeedshareThreshold: threshold }),
    CertificateLifetime: changes.certificateLifetime,
    MeshCAOverlap: changes.meshCaOverlap,
    WorkloadSecretOverlap: changes.workloadSecretOverlap,
  };
  return Buffer.from(JSON.stringify(document));
}

/** A set by the owner, but for the changes. @param after what the owner signs for; undefined: it is the first set */
export function setRequest(changes: Partial<SetRequest> & ManifestChanges = {}, after?: StateGuard): SetRequest {
  const manifest = changes.manifest ?? manifestOf(changes);
  const signed = after && changeAfter(after.active(), manifest);
  return {
    manifest,
    policies: changes.policies ?? [policy],
    latestTransition: changes.latestTransition,
    callerKey: changes.callerKey ?? owner,
    signatures: changes.signatures ?? (signed === undefined ? [] : [signedBy(ownerKeys, signed)]),
    revoke: changes.revoke ?? false,
    signedMeshKey: "signedMeshKey" in changes ? changes.signedMeshKey : signed?.meshKey,
  };
}

export function changeAfter(
  { latest, authority }: Snapshot,
  manifest: Uint8Array,
): Change & { readonly meshKey: Uint8Array } {
  const previous = Buffer.from(latest.transition, "hex");
  return { manifest, previous, meshKey: spkiDigest(authority.meshKey.publicKey) };
}

export function signedBy({ privateKey, publicKey }: KeyPair, change: Change | ChangeAhead): ChangeSignature {
  const algorithm = privateKey.asymmetricKeyType === "ed25519" ? null : "sha256";
  return { publicKey: spki(publicKey), signature: sign(algorithm, changeToSign(change), privateKey) };
}

/** What this owner recovers with, on a connection of the owner's, who has pinned this snapshot. */
export function recoverRequest(
  known: Snapshot,
  keys = seedshareOwners[0],
  changes: Partial<RecoverRequest> = {},
): RecoverRequest {
  if (keys === undefined) throw new Error("no such owner");
  const { seedShares, latest, seed } = known;
  return {
    share: shareOf(seedShares, keys),
    salt: seedShares.salt,
    callerSpki: spki(keys.publicKey),
    pins: { transition: Buffer.from(latest.transition, "hex"), rootKey: spkiDigest(seed.rootKey.publicKey) },
    force: false,
    ...changes,
  };
}

export function shareOf(shares: SeedShares, keys: KeyPair): Secret {
  const own = shares.shares.find(({ publicKey }) => isEqual(publicKey, spki(keys.publicKey)));
  if (own === undefined) throw new Error("no share for this owner");
  return decryptShare(own.encryptedSeed, keys.privateKey);
}
