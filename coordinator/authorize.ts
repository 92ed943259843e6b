import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { Refusal } from "../api/refusal.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { changeToSign } from "../manifest/change.ts";
import type { Manifest } from "../manifest/manifest.ts";
import type { SeedShares } from "./seed-shares.ts";

/** Who may change the manifest, and who may recover: the two questions about people, each answered by one function. */

/** What a workload owner allows by signature, so that the owner's key need not be at hand when it is done. */
export interface Change {
  /** The bytes of the new manifest. */
  readonly manifest: Uint8Array;
  /** SHA-256 of the latest transition: what the change follows. */
  readonly previous: Uint8Array;
}

export interface ChangeSignature {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array;
  /** ECDSA with SHA-256, DER (SEC 1 §C.5). */
  readonly signature: Uint8Array;
}

/** P-256, P-384 and P-521, by OpenSSL's names. */
const CURVES = new Set<string | undefined>(["prime256v1", "secp384r1", "secp521r1"]);

/**
 * The owner either made the connection or signed this very change. Where there is a signature, it alone decides: whose
 * connection carries it says nothing.
 *
 * @param active the manifest whose owners are asked; those that the new manifest names have no say
 * @param callerKey SHA-256 of the connection's SubjectPublicKeyInfo, hex
 * @returns SHA-256 of the owner's SubjectPublicKeyInfo, hex
 * @throws Refusal `immutable`, `not_owner`, `bad_signature`
 */
export function requireWorkloadOwner(
  active: Manifest,
  callerKey: string,
  change: Change,
  signed: ChangeSignature | undefined,
): string {
  const owners = active.workloadOwnerKeyDigests;
  if (owners.length === 0) {
    throw new Refusal("immutable", "the active manifest names no workload owner, so nobody may replace it", {
      where: "$.WorkloadOwnerKeyDigests",
    });
  }
  const key = signed === undefined ? callerKey : sha256Hex(signed.publicKey);
  if (!owners.includes(key)) {
    throw new Refusal(
      "not_owner",
      `the ${signed === undefined ? "caller's" : "signature's"} key is not a workload owner's`,
      {
        where: "$.WorkloadOwnerKeyDigests of the active manifest",
        got: key,
        want: owners.join(" or "),
        hint: "use --workload-owner-key with an owner's key",
      },
    );
  }
  if (signed !== undefined && !signs(signed, change)) {
    throw new Refusal("bad_signature", "the signature is not by this key over this change", {
      where: `the signature of the workload owner ${key}`,
      want: `ECDSA with SHA-256 over this manifest, after the transition ${Buffer.from(change.previous).toString("hex")}`,
      hint: "run `contrast verify`, look at what changed, then `contrast sign` again",
    });
  }
  return key;
}

function signs({ publicKey, signature }: ChangeSignature, { manifest, previous }: Change): boolean {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(publicKey), type: "spki", format: "der" });
  } catch {
    return false;
  }
  const isEc = key.asymmetricKeyType === "ec" && CURVES.has(key.asymmetricKeyDetails?.namedCurve);
  return isEc && verify("sha256", changeToSign(manifest, previous), { key, dsaEncoding: "der" }, signature);
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
export function requireSeedshareOwner(stored: Manifest, callerSpki: Buffer): void {
  // The whole key is compared: the manifest names it whole.
  if (stored.seedshareOwnerPubKeys.some((owner) => owner.equals(callerSpki))) return;
  throw new Refusal("not_seedshare_owner", "the caller's key is not a seed share owner's", {
    where: "$.SeedshareOwnerPubKeys of the stored manifest",
    got: sha256Hex(callerSpki),
    want: "a connection made with an owner's key",
    hint: "use --seedshare-owner-key with the key of an owner of this deployment",
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
  const owners = new Set(stored.seedshareOwnerPubKeys.map((key) => key.toString("hex")));
  const isForThem =
    shares.length === owners.size && shares.every(({ publicKey }) => owners.has(publicKey.toString("hex")));
  if (isForThem && threshold === stored.seedshareThreshold) return;
  throw new Refusal("damaged_state", "the seed shares are not those that the manifest asks for", {
    where: "seedshares",
    got: `${threshold} of ${shares.length}${isForThem ? "" : ", of other owners"}`,
    want: `${stored.seedshareThreshold} of ${owners.size}, the manifest's owners`,
    hint: "restore the state directory from a backup",
  });
}
