import { Refusal } from "../../api/refusal.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import { generationOf } from "../../manifest/transition-kind.ts";
import type { Transition } from "../../manifest/transition.ts";
import { generateEcKey, spkiDigest } from "../../pki/keys.ts";
import type { Secret } from "../../runtime/secret.ts";
import type { Store } from "../../store/store.ts";
import {
  type Pins,
  requireContinuation,
  requirePinnedHistory,
  requireSeedshareOwner,
  requireSharesOf,
} from "./authorize.ts";
import { type CheckedHistory, requireAllowed } from "./checked-history.ts";
import { movePointer, readLatestInsecure, readSeedShares, readTransitions } from "./history.ts";
import { parseUsable } from "./parse-manifest.ts";
import { type Latest, type LatestInsecure, verifyLatest } from "./pointer.ts";
import { type GivenShare, isShareOf, openSeed, requireShareOf, type SeedShares } from "./seed-shares.ts";
import { lastRekey } from "./rekey-proof.ts";
import type { SeedEngine } from "./seed.ts";
import { authorityOf, type Snapshot } from "./snapshot.ts";
import type { StateOptions } from "./state-options.ts";

export interface RecoverRequest {
  /** The seed, or the caller's share of it. */
  readonly share: Secret;
  readonly salt: Uint8Array;
  /** The caller's SubjectPublicKeyInfo, DER. */
  readonly callerSpki: Uint8Array;
  /** What the caller knows of the deployment. */
  readonly pins: Pins;
  /** Also where nothing needs to be recovered. */
  readonly force: boolean;
}

export interface RecoverResult {
  /** How many more owners it takes. Until it is 0 nothing has changed. */
  readonly missingShares: number;
  readonly recovered: Recovered | undefined;
}

export interface Recovered {
  readonly snapshot: Snapshot;
  /** The manifest that is in force now. */
  readonly manifest: Buffer;
}

/** The shares that were given so far to recover the history with this pointer. By owner: an owner counts once. */
export interface Pending {
  readonly pointer: LatestInsecure;
  readonly shares: ReadonlyMap<string, Secret>;
  readonly missing: number;
}

/** A share that fits the stored history, beside those that were given before. */
interface Taken {
  readonly pending: Pending;
  readonly history: readonly Transition[];
  readonly checked: CheckedHistory;
  readonly transition: Transition;
  readonly manifest: Manifest;
  readonly manifestBytes: Buffer;
  readonly seedShares: SeedShares;
  readonly at: Date;
}

/**
 * Takes an owner's share.
 *
 * @param active what is in force; undefined: the state needs recovery
 * @param pending the shares that were given so far
 * @throws Refusal `not_seedshare_owner`, `pin_mismatch`, `wrong_seed` and others
 */
export async function takeShare(
  active: Snapshot | undefined,
  pending: Pending | undefined,
  { share, salt, callerSpki, pins, force }: RecoverRequest,
  { store, allowInsecure, now }: StateOptions,
): Promise<Taken> {
  if (active !== undefined && !force) {
    throw new Refusal("not_in_recovery", "the Coordinator has its secrets: there is nothing to recover", {
      hint: "with --force it reads the stored state again",
    });
  }
  // Everything is read once: what decides who may recover is the very manifest that the signature covers, by the
  // digests from the pointer down.
  const pointer = await readLatestInsecure(store);
  if (pointer === undefined) {
    throw new Refusal("no_manifest", "the Coordinator has no manifest, so there is nothing to recover");
  }
  const history = await readTransitions(store, pointer.transition);
  const transition = history.at(-1);
  if (transition === undefined) throw new Error("a history has a transition");
  const manifestBytes = await store.get("manifests", transition.manifest);
  const manifest = parseUsable(manifestBytes, allowInsecure);
  // Before the share is taken: with a wrong clock it would be lost.
  const at = now(manifest);
  requireSeedshareOwner(manifest, callerSpki);
  requirePinnedHistory(history, pins);
  if (active !== undefined) requireContinuation(history, active.latest.transition);
  const checked = await requireAllowed(store, history);
  const seedShares = await readSeedShares(store, transition.seedShares);
  requireSharesOf(manifest, seedShares);
  const given = { ownerSpki: callerSpki, share, salt };
  requireShareOf(seedShares, given, isShareOf(seedShares, given) ? undefined : await replacedBy(store, history, given));

  const before = pending !== undefined && isEqual(pending.pointer.raw, pointer.raw) ? pending.shares : [];
  const shares = new Map([...before, [toHex(callerSpki), share]]);
  const taken = { pointer, shares, missing: seedShares.threshold - shares.size };
  return { pending: taken, history, checked, transition, manifest, manifestBytes, seedShares, at };
}

/**
 * Each share is the one of its owner, by the records of this history. If they come to another seed than its own, then the
 * history is made up, and shares that were given to it are good for nothing.
 *
 * The new mesh CA is in force once the pointer names it: of two Coordinators that are recovered at once, one is told
 * `conflict`, and there are never two mesh CAs.
 *
 * @param taken with as many shares as it takes
 * @throws Refusal `wrong_seed`, `pin_mismatch`, `conflict`, `state_not_written`
 */
export async function openHistory(
  { pending, history, checked, transition, ...stored }: Taken,
  { store }: Pick<StateOptions, "store">,
): Promise<Recovered> {
  const { manifest, manifestBytes, seedShares, at } = stored;
  const seed = await openSeed(seedShares, [...pending.shares.values()]);
  const before = verifyLatest(pending.pointer, seed.historyKey.publicKey);
  requireRootKey(seed, transition.rootKey);
  const meshKey = await generateEcKey("P-256");
  const target = { transition: transition.digest, meshKey: toHex(spkiDigest(meshKey.publicKey)) };
  const latest = await moved(() => movePointer(store, before, target, seed.historyKey.privateKey), before, store);
  const { generation } = checked;
  const manifestDigest = transition.manifest;
  const authority = authorityOf({ manifest, manifestDigest, seed, generation }, meshKey, at);
  // Who needs to recover does not know the mesh CA of before, and nothing that is stored may say which it was.
  const trust = { previousMeshes: [], began: at, rekey: lastRekey(history) };
  const snapshot = { manifest, manifestDigest, latest, seed, seedShares, authority, ...trust, ...checked };
  return { snapshot, manifest: manifestBytes };
}

/**
 * On a full disk there is no set, but what is there can be recovered: nobody else has this store, so that nobody needs to
 * find there which mesh CA is in force.
 */
async function moved(move: () => Promise<Latest>, before: Latest, { shared }: Store): Promise<Latest> {
  try {
    return await move();
  } catch (error) {
    if (!shared && error instanceof Refusal && error.code === "state_not_written") return before;
    throw error;
  }
}

/**
 * Shares of an earlier manifest look like anybody's to who has only the present ones. An owner is told that they are old.
 *
 * @returns for people: what replaced them; undefined: the share was never one of this owner's
 */
async function replacedBy(
  store: Store,
  history: readonly Transition[],
  given: GivenShare,
): Promise<string | undefined> {
  for (const [index, { seedShares, rootKey }] of history.entries()) {
    const next = history[index + 1];
    if (next === undefined || next.seedShares === seedShares) continue;
    if (!isShareOf(await readSeedShares(store, seedShares), given)) continue;
    const number = generationOf(history.slice(0, index + 2));
    return next.rootKey === rootKey
      ? `manifest ${number} has other seed share owners or another threshold, so all shares were made anew`
      : `manifest ${number} came with a new seed (\`contrast rekey\`)`;
  }
  return undefined;
}

/**
 * Every owner who gave a share has pinned the root CA key that the history names, and so this seed is the one that all
 * of them mean.
 *
 * @throws Refusal `pin_mismatch`
 */
function requireRootKey(seed: SeedEngine, pinned: string): void {
  const rootKey = toHex(spkiDigest(seed.rootKey.publicKey));
  if (rootKey === pinned) return;
  throw new Refusal("pin_mismatch", "the seed gives another root CA key than the owners have pinned", {
    got: rootKey,
    want: pinned,
    hint: "the state was made up, or the seed share is another deployment's: do not recover it",
  });
}
