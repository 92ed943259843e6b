import { type Manifest, parseManifest } from "../../manifest/manifest.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readTransitions } from "./history.ts";
import type { LatestInsecure } from "./pointer.ts";
import type { Store } from "../../store/store.ts";

/** SHA-256, hex, of the keys of all workload owners and seed share owners. */
export function ownersOf({ workloadOwnerKeyDigests, seedshareOwnerPubKeys }: Manifest): ReadonlySet<string> {
  return new Set([...workloadOwnerKeyDigests, ...seedshareOwnerPubKeys.map((key) => sha256Hex(key))]);
}

/**
 * The owners of the stored manifest, as the disk has it. The host can write there what it likes, so this may decide who is
 * let in first, as the host does anyway, and nothing else.
 *
 * @returns nobody where the state is damaged: who recovers is told how
 */
export async function readOwnersInsecure(store: Store, latest: LatestInsecure): Promise<ReadonlySet<string>> {
  try {
    return ownersOf(await readManifestInsecure(store, latest));
  } catch {
    return new Set();
  }
}

/**
 * The stored manifest, as the disk has it.
 *
 * @throws Refusal `damaged_state`, `unknown_state_version`; ManifestError
 */
export async function readManifestInsecure(store: Store, latest: LatestInsecure): Promise<Manifest> {
  const transitions = await readTransitions(store, latest.transition);
  return parseManifest(await store.get("manifests", transitions.at(-1)?.manifest ?? ""));
}
