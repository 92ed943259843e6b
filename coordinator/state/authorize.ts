import { Refusal } from "../../api/refusal.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Change, ChangeAhead } from "../../manifest/change.ts";
import { type ChangeSignature, faultOfChange } from "../../manifest/change-signature.ts";
import { type Manifest, type PolicyEntry, workloadOwnersOf } from "../../manifest/manifest.ts";
import type { Transition } from "../../manifest/transition.ts";
import type { SeedShares } from "./seed-shares.ts";

/** Who may change the manifest, and who may recover: the two questions about people, each answered by one function. */

export interface SignedChange {
  readonly change: Change | ChangeAhead;
  readonly signatures: readonly ChangeSignature[];
  /** The mesh CA key that the signatures are said to be over; undefined: nobody says. */
  readonly signedMeshKey: Uint8Array | undefined;
}

/** What owners have allowed of a change so far. */
export interface Leave {
  /** SHA-256 of the SubjectPublicKeyInfo of those who signed, hex. */
  readonly owners: readonly string[];
  /** How many more owners have to sign. */
  readonly missing: number;
}

/** @param leave with somebody missing */
export function tooFewSignatures(active: Manifest, { owners, missing }: Leave): Refusal {
  return new Refusal("too_few_signatures", "the change needs the signatures of more workload owners", {
    where: "$.WorkloadOwnerThreshold of the active manifest",
    got: `${active.workloadOwnerThreshold - missing}, by ${owners.join(", ")}`,
    want: `${active.workloadOwnerThreshold} of ${active.workloadOwnerKeyDigests.join(", ")}`,
    hint: "other owners sign it, too: `contrast pending sign`, or `contrast sign` and `contrast set` with all signatures",
  });
}

/**
 * At least one owner signed this very change, for this generation of this Coordinator, and nobody else did. Whose connection
 * carries it says nothing: what an owner allowed has to stand in the history for all who read it later, and a connection
 * leaves nothing to read.
 *
 * @param active the manifest whose owners are asked; those that the new manifest names have no say
 * @param callerKey SHA-256 of the connection's SubjectPublicKeyInfo, hex: so that who is no owner is told so
 * @throws Refusal `immutable`, `not_owner`, `signature_missing`, `signature_outdated`, `bad_signature`
 */
export function requireOwnersLeave(
  active: Manifest,
  callerKey: string,
  { change, signatures, signedMeshKey }: SignedChange,
): Leave {
  if (signatures.length === 0) {
    requireOwnerKey(active, callerKey, "caller's");
    throw new Refusal("signature_missing", "a change of the manifest needs a signature of a workload owner", {
      where: `the request of the workload owner ${callerKey}`,
      want: "ECDSA with SHA-256 over the change: a connection that an owner made does not stand for it",
      hint: "use the `contrast` of this version",
    });
  }
  const owners = [...new Set(signatures.map(({ publicKey }) => sha256Hex(publicKey)))];
  for (const key of owners) requireOwnerKey(active, key, "signature's");
  const fault = faultOfChange(workloadOwnersOf(active), change, signatures);
  if (fault === undefined) return { owners, missing: 0 };
  if ("signed" in fault) return { owners, missing: active.workloadOwnerThreshold - fault.signed };
  const key = "key" in fault ? fault.key : "";
  const meshKey = hex(change.meshKey);
  const rekey = change.newRootKey === undefined ? "" : `, as a rekey to the root CA key ${hex(change.newRootKey)}`;
  const amendment = change.annex === undefined ? "" : `, as an amendment to the annex ${hex(change.annex)}`;
  if (signedMeshKey !== undefined && hex(signedMeshKey) !== meshKey) {
    throw new Refusal("signature_outdated", "the signature is for another generation of the mesh CA", {
      where: `the signature of the workload owner ${key}`,
      got: `the mesh CA key ${hex(signedMeshKey)}`,
      want: meshKey,
      hint: "every set and every recovery make a new mesh CA: run `contrast verify`, then `contrast sign` again",
    });
  }
  throw new Refusal("bad_signature", "the signature is not over this change", {
    where: `the signature of the workload owner ${key}`,
    want:
      `ECDSA with SHA-256 over this manifest, after the transition ${hex(change.previous)}, ` +
      `with the mesh CA key ${meshKey}${rekey}${amendment}`,
    hint:
      "a signature is good until the next set, amendment or recovery: run `contrast verify`, look at what changed, " +
      "then `contrast sign` again",
  });
}

/**
 * @param key SHA-256 of a SubjectPublicKeyInfo, hex
 * @param whose for people
 * @throws Refusal `immutable`, `not_owner`
 */
export function requireOwnerKey(active: Manifest, key: string, whose: "caller's" | "signature's"): void {
  const owners = active.workloadOwnerKeyDigests;
  if (owners.length === 0) {
    throw new Refusal("immutable", "the active manifest names no workload owner, so nobody may replace it", {
      where: "$.WorkloadOwnerKeyDigests",
    });
  }
  if (owners.includes(key)) return;
  throw new Refusal("not_owner", `the ${whose} key is not a workload owner's`, {
    where: "$.WorkloadOwnerKeyDigests of the active manifest",
    got: key,
    want: owners.join(" or "),
    hint: "use --workload-owner-key with an owner's key; the workspace's own is workload-owner.pem",
  });
}

/**
 * Any owner may have a rekey prepared: it changes nothing, and a workload owner whose key is in a module can make no
 * connection with it. To carry it out takes the workload owners' signatures.
 *
 * @param key SHA-256 of the caller's SubjectPublicKeyInfo, hex
 * @throws Refusal `immutable`, `not_owner`
 */
export function requireRekeyOwner(active: Manifest, key: string): void {
  const isSeedshareOwner = active.seedshareOwnerPubKeys.some((owner) => sha256Hex(owner) === key);
  if (active.workloadOwnerKeyDigests.length === 0 || !isSeedshareOwner) requireOwnerKey(active, key, "caller's");
}

/**
 * Having a seed is no right to recover with it. A host can make a state of its own, with a seed of its own, whose
 * history ends with a deployment's real manifest; a Coordinator that took this seed would attest itself as that
 * deployment's, while the host knows its root key and every workload secret. So recovery is for the owners whom the
 * manifest names, proven by the key of their connection: then that manifest's readers know who chose the seed.
 *
 * @param stored the latest manifest of the stored history, which the signature that the seed must verify covers
 * @param callerSpki the connection's SubjectPublicKeyInfo, DER
 * @throws Refusal `not_seedshare_owner`
 */
export function requireSeedshareOwner(stored: Manifest, callerSpki: Uint8Array): void {
  // The whole key is compared: the manifest names it whole.
  if (stored.seedshareOwnerPubKeys.some((owner) => isEqual(owner, callerSpki))) return;
  throw notSeedshareOwner(sha256Hex(callerSpki));
}

/** @param key SHA-256 of the caller's SubjectPublicKeyInfo, hex */
export function notSeedshareOwner(key: string): Refusal {
  return new Refusal("not_seedshare_owner", "the caller's key is not a seed share owner's", {
    where: "$.SeedshareOwnerPubKeys of the stored manifest",
    got: key,
    want: "a connection made with an owner's key",
    hint:
      "use --seedshare-owner-key with the key of an owner of this deployment; " +
      "who was one before a `set` named others is none any more",
  });
}

/**
 * How many owners it takes, and which, is the manifest's to say. Seed shares that say otherwise are a host's, made for one
 * owner who is in league with it: alone that owner could then recover a Coordinator with a seed of the host's.
 *
 * @param stored the latest manifest of the stored history
 * @throws Refusal `damaged_state`
 */
export function requireSharesOf(stored: Manifest, { threshold, shares }: SeedShares): void {
  const owners = new Set(stored.seedshareOwnerPubKeys.map(toHex));
  const isForThem = shares.length === owners.size && shares.every(({ publicKey }) => owners.has(toHex(publicKey)));
  if (isForThem && threshold === stored.seedshareThreshold) return;
  throw new Refusal("damaged_state", "the seed shares are not those that the manifest asks for", {
    where: "seedshares",
    got: `${threshold} of ${shares.length}${isForThem ? "" : ", of other owners"}`,
    want: `${stored.seedshareThreshold} of ${owners.size}, the manifest's owners`,
    hint: "restore the state directory from a backup",
  });
}

/**
 * Secrets of the deployment are for its Coordinators.
 *
 * @param hash SHA-256 of the policy of the peer, hex
 * @param entry what the manifest grants to it
 * @throws Refusal `not_coordinator`
 */
export function requireCoordinator(hash: string, { role }: Pick<PolicyEntry, "role">): void {
  if (role === "coordinator") return;
  throw new Refusal("not_coordinator", "the peer is no Coordinator by the manifest", {
    where: `$.Policies.${hash}.Role`,
    got: "a workload",
    want: "coordinator",
    hint: "run `contrast generate` with the Coordinator's file, then `contrast set`",
  });
}

/** What an owner who recovers knows of the deployment, from an attested and active Coordinator. */
export interface Pins {
  /** SHA-256 of a transition. */
  readonly transition: Uint8Array;
  /** SHA-256 of the root CA's SubjectPublicKeyInfo. */
  readonly rootKey: Uint8Array;
}

/**
 * The stored history is the one that the owner knows, or goes on from there. Everything else of it is a host's word. A
 * host and one owner can make a whole history of their own, with the other owners' own shares in its records, and a seed
 * that they know. They can't put into it a transition that names other seed shares and another root CA key.
 *
 * @param history oldest first
 * @throws Refusal `not_pinned`, `pin_mismatch`
 */
export function requirePinnedHistory(history: readonly Transition[], pins: Pins): void {
  if (pins.transition.length !== 32 || pins.rootKey.length !== 32) {
    throw new Refusal("not_pinned", "the request does not say which deployment the owner knows", {
      got: `a transition of ${pins.transition.length} bytes, a root CA key of ${pins.rootKey.length}`,
      want: "32 bytes each",
      hint: "an owner has to run `contrast verify` while the Coordinator is active, and recover from that workspace",
    });
  }
  const pinned = history.find(({ digest }) => digest === hex(pins.transition));
  if (pinned === undefined) {
    throw new Refusal("pin_mismatch", "the stored history lacks the transition that this owner has pinned", {
      where: `transition ${hex(pins.transition)}`,
      got: `${history.length} others, the latest ${history.at(-1)?.digest}`,
      hint: "the state is another deployment's, or older than this owner's last `contrast verify`: do not recover it",
    });
  }
  if (pinned.rootKey === hex(pins.rootKey)) return;
  throw new Refusal("pin_mismatch", "the stored history has another root CA key than this owner has pinned", {
    where: `transition ${pinned.digest}, root CA key`,
    got: pinned.rootKey,
    want: hex(pins.rootKey),
    hint: "the pins are of two deployments: run `contrast verify` while the Coordinator is active",
  });
}

/**
 * What an active Coordinator is told to read again continues what it has. It knows better than the disk, which is the
 * host's, and better than who has the seed alone, which a seed share owner may.
 *
 * @param known SHA-256 of the transition that is in force, hex
 * @throws Refusal `another_history`
 */
export function requireContinuation(history: readonly Transition[], known: string): void {
  if (history.some(({ digest }) => digest === known)) return;
  throw new Refusal("another_history", "the stored history does not continue the one that is in force", {
    where: "latest",
    got: history.at(-1)?.digest,
    want: `one that contains ${known}`,
    hint: "somebody replaced the state; what is in force stays. To go back on purpose, restart the Coordinator",
  });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
