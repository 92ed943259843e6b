import { Refusal } from "../../api/refusal.ts";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { reservedNames } from "../../manifest/reserved-names.ts";
import { longChains } from "../../manifest/certificate-size.ts";
import { type ChangeSignature, onePerKey } from "../../manifest/change-signature.ts";
import { policyHash } from "../../manifest/initdata.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import { generateEcKey, spkiDigest } from "../../pki/keys.ts";
import { SEED_LENGTH } from "../../pki/seed-share.ts";
import { Secret } from "../../runtime/secret.ts";
import { requireOwnersLeave, tooFewSignatures } from "./authorize.ts";
import { earlierAfterRekey } from "./earlier-seeds.ts";
import { advance, storeSeedShares } from "./history.ts";
import { overlap } from "./overlap.ts";
import { parseUsable } from "./parse-manifest.ts";
import { allConsents, keepConsents, type PendingChange, subjectOf } from "./pending.ts";
import { type PreparedSeed, requirePrepared } from "./prepared-seed.ts";
import { requireLatest } from "./require-latest.ts";
import { resealed } from "./sealed-secrets.ts";
import { makeSeedShares } from "./seed-shares.ts";
import { SALT_LENGTH, SeedEngine } from "./seed.ts";
import { authorityOf, type Snapshot } from "./snapshot.ts";
import type { StateOptions } from "./state-options.ts";
import type { Store } from "../../store/store.ts";

export interface SetRequest {
  readonly manifest: Uint8Array;
  readonly policies: readonly Uint8Array[];
  /** SHA-256 of the transition that must be the latest; all zero: none; undefined: any. */
  readonly latestTransition: Uint8Array | undefined;
  /** SHA-256 of the caller's SubjectPublicKeyInfo, hex. */
  readonly callerKey: string;
  /** Of workload owners. None is enough for the first set. */
  readonly signatures: readonly ChangeSignature[];
  /** The mesh CA key that the signatures are said to be over; undefined: nobody says. */
  readonly signedMeshKey: Uint8Array | undefined;
  /**
   * SHA-256 of the SubjectPublicKeyInfo of the root CA that comes with a prepared seed, which the signatures cover as well;
   * undefined: the seed stays.
   */
  readonly newRootKey?: Uint8Array | undefined;
  /** No mesh CA of before stays trusted. Nobody signs that, for it only takes trust away. */
  readonly revoke: boolean;
}

export interface SetResult {
  readonly snapshot: Snapshot;
  /** The transition that was made, as it is stored. */
  readonly record: Uint8Array;
  /** SHA-256 of the keys of the workload owners who allowed it, hex; nobody's leave is needed for the first set. */
  readonly owners: readonly string[];
  /** Why no mesh CA of before stays trusted, although the manifest says that it may; undefined: one does, or it says none. */
  readonly overlapRefused: string | undefined;
  /** Whether seed shares were made. */
  readonly hasNewShares: boolean;
  /** Whether the seed is a new one. */
  readonly isRekey: boolean;
}

/**
 * Makes a manifest the active one: what is stored is stored when this returns. The caller puts the snapshot in force at
 * once, without waiting for anything.
 *
 * @param before what is in force; undefined: the state is empty
 * @param prepared the seed that was prepared for a rekey; undefined: none
 * @throws Refusal of many codes; nothing has changed then
 */
export async function makeChange(
  before: Snapshot | undefined,
  request: SetRequest,
  { store, allowInsecure, now, random }: StateOptions,
  prepared?: PreparedSeed,
): Promise<SetResult> {
  requireLatest(before?.latest, request.latestTransition);
  const leave = before === undefined ? NOBODYS : await leaveFor(before, request, store);
  if (before !== undefined && leave.missing > 0) throw tooFewSignatures(before.manifest, leave);
  const manifest = requireUsable(request, allowInsecure);
  const at = now(manifest);

  const newSeed = request.newRootKey && requirePrepared(prepared, request.newRootKey, before, at);
  const { seed, seedShares } = await seedFor(before, manifest, { newSeed, now: at, random });
  const meshKey = await generateEcKey("P-256");
  for (const policy of request.policies) await store.put("policies", policy);
  const manifestDigest = await store.put("manifests", request.manifest);
  const annex = await annexAfter(before, newSeed, { store, random });
  const hasNewShares = before?.seedShares !== seedShares;
  const step = {
    version: before !== undefined && hasNewShares ? (3 as const) : (2 as const),
    manifest: manifestDigest,
    seedShares: await storeSeedShares(store, seedShares),
    rootKey: toHex(spkiDigest(seed.rootKey.publicKey)),
    meshKey: before && toHex(spkiDigest(before.authority.meshKey.publicKey)),
    annex: annex?.digest,
    signatures: leave.signatures,
  };
  const { latest, record } = await advance(store, before?.latest, step, {
    meshKey: toHex(spkiDigest(meshKey.publicKey)),
    historyKey: seed.historyKey.privateKey,
  });

  const generation = (before?.generation ?? 0) + 1;
  // Not earlier, and nothing is waited for from here on: the generation before issues nothing after this one began.
  const began = unlessRefused(() => now(manifest), at);
  const authority = authorityOf({ manifest, manifestDigest, seed, generation }, meshKey, began);
  // Who rekeys has reason to think that somebody knows too much: nothing of before is trusted.
  const revoke = request.revoke || leave.revoke || newSeed !== undefined;
  const { previousMeshes, refused } = overlap(before, manifest, revoke, began);
  const trust = { previousMeshes, began, rekey: newSeed === undefined ? before?.rekey : record };
  const inForce = { manifest, manifestDigest, latest, annex, unsigned: [] };
  const snapshot = { ...inForce, seed, seedShares, authority, ...trust, generation };
  return {
    snapshot,
    record,
    owners: leave.owners,
    overlapRefused: refused,
    hasNewShares,
    isRekey: newSeed !== undefined,
  };
}

/**
 * Keeps what owners allowed of a change, where it takes more of them. What is kept could be set: it is judged as if it were.
 *
 * @returns undefined where there are enough, with those who signed before
 * @throws Refusal of many codes; nothing is kept then
 */
export async function leavePending(
  before: Snapshot,
  request: SetRequest,
  { store, allowInsecure, now }: StateOptions,
): Promise<PendingChange | undefined> {
  requireLatest(before.latest, request.latestTransition);
  const leave = await leaveFor(before, request, store);
  if (leave.missing === 0) return undefined;
  now(requireUsable(request, allowInsecure));
  for (const policy of request.policies) await store.put("policies", policy);
  await store.put("manifests", request.manifest);
  const size = request.policies.reduce((sum, { length }) => sum + length, request.manifest.length);
  const { signatures, revoke } = request;
  return keepConsents(store, before, { manifest: leave.manifest, annex: undefined, signatures, revoke }, size);
}

/** Nobody is asked for leave by the first set, so nobody's is stored. */
const NOBODYS = { signatures: [], owners: [], missing: 0, revoke: false } as const;

function requireUsable(request: SetRequest, allowInsecure: boolean): Manifest {
  const manifest = parseUsable(request.manifest, allowInsecure);
  requireSamePolicies(manifest, request.policies);
  requireShortChains(manifest);
  requireNoReservedNames(manifest);
  return manifest;
}

/** The clock, or the time before, where the clock was set back in between: what is stored can't be refused any more. */
function unlessRefused(now: () => Date, before: Date): Date {
  try {
    return now();
  } catch {
    return before;
  }
}

interface SeedChange {
  /** Of a rekey. */
  readonly newSeed: SeedEngine | undefined;
  readonly now: Date;
  readonly random: StateOptions["random"];
}

/**
 * The seed stays, but for a rekey. Its shares stay where owners and threshold do; else they are made anew, and the old ones
 * open it still.
 */
async function seedFor(
  before: Snapshot | undefined,
  manifest: Manifest,
  { newSeed, now, random }: SeedChange,
): Promise<Pick<Snapshot, "seed" | "seedShares">> {
  if (before !== undefined && newSeed === undefined && hasSameSeedshareOwners(before.manifest, manifest)) return before;
  const seed = newSeed ?? before?.seed ?? new SeedEngine(new Secret(random(SEED_LENGTH)), random(SALT_LENGTH));
  const { seedshareOwnerPubKeys, seedshareThreshold, workloadSecretOverlapMs: overlapMs } = manifest;
  const made = await makeSeedShares(seed.seed, seed.salt, seedshareOwnerPubKeys, seedshareThreshold);
  if (before === undefined) return { seed, seedShares: made };
  const { secretVersion, earlier } = before.seedShares;
  const rekeys =
    newSeed === undefined
      ? { secretVersion, earlier }
      : { secretVersion: secretVersion + 1, earlier: earlierAfterRekey(before, newSeed, { overlapMs, now, random }) };
  return { seed, seedShares: { ...made, ...rekeys } };
}

/** A set keeps the annex; a rekey seals its secrets anew, under the new seed. */
async function annexAfter(
  before: Snapshot | undefined,
  newSeed: SeedEngine | undefined,
  options: Pick<StateOptions, "store" | "random">,
): Promise<Snapshot["annex"]> {
  if (before?.annex === undefined || newSeed === undefined) return before?.annex;
  const { seed, annex } = before;
  const anew = await resealed({ seed, annex }, newSeed, options);
  await options.store.put("annexes", anew.bytes);
  return anew;
}

/**
 * What owners allowed of the change: those whose signatures came along, and where these are too few, others whose consent is
 * stored.
 *
 * @throws what `requireOwnersLeave` throws
 */
async function leaveFor(active: Snapshot, request: SetRequest, store: Store): Promise<PendingChange> {
  const { manifest, callerKey, signatures, signedMeshKey, newRootKey } = request;
  const previous = Buffer.from(active.latest.transition, "hex");
  const change = { manifest, previous, meshKey: spkiDigest(active.authority.meshKey.publicKey), newRootKey };
  const { owners, missing } = requireOwnersLeave(active.manifest, callerKey, { change, signatures, signedMeshKey });
  const { revoke } = request;
  const given = { manifest: sha256Hex(manifest), annex: undefined, signatures: onePerKey(signatures), revoke };
  // What is stored was signed as a plain change.
  const isEnough = missing === 0 || newRootKey !== undefined;
  return isEnough ? { ...given, subject: subjectOf(given), owners, missing } : allConsents(store, active, given);
}

function requireSamePolicies(manifest: Manifest, policies: readonly Uint8Array[]): void {
  const given = policies.map((policy) => policyHash(policy));
  const missing = [...manifest.policies.keys()].find((digest) => !given.includes(digest));
  const extra = given.find((digest) => !manifest.policies.has(digest));
  if (missing === undefined && extra === undefined) return;
  throw new Refusal("policy_mismatch", "the policies are not those that the manifest lists", {
    where: "$.Policies",
    got: extra ?? `no policy ${missing}`,
    want: "exactly the listed ones",
    hint: "run `contrast generate` again",
  });
}

/** Those of a stored manifest may be longer: an earlier version set it, and it has to be recovered all the same. */
function requireShortChains({ policies }: Manifest): void {
  const [fault] = longChains(policies);
  if (fault === undefined) return;
  throw new Refusal("certificate_too_long", "the names of a policy make its certificates longer than a peer accepts", {
    ...fault,
    hint: "give the policy fewer or shorter SANs",
  });
}

/** A stored manifest may have some, for the same reason: then the transit port serves nobody (server-identity.ts). */
function requireNoReservedNames({ policies }: Manifest): void {
  const [fault] = reservedNames(policies);
  if (fault === undefined) return;
  throw new Refusal("invalid_manifest", "a workload must not have a name of the Coordinator's", fault);
}

function hasSameSeedshareOwners(before: Manifest, after: Manifest): boolean {
  const keys = (manifest: Manifest): string => manifest.seedshareOwnerPubKeys.map(toHex).sort().join();
  return keys(before) === keys(after) && before.seedshareThreshold === after.seedshareThreshold;
}
