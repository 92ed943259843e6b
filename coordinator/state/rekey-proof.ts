import { MalformedBytes } from "../../bytes/cursor.ts";
import { toHex } from "../../bytes/encode.ts";
import { faultOfChange } from "../../manifest/change-signature.ts";
import { isRekey } from "../../manifest/history.ts";
import { workloadOwnersOf } from "../../manifest/manifest.ts";
import { parseTransition, type Transition } from "../../manifest/transition.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * What convinces a Coordinator that its seed was replaced, whatever the store shows it: the transition that did so. The
 * pointers of before and after a rekey are signed by keys of two seeds, so that they can't be compared. But the owners
 * signed the new root CA key, and nobody else can make them have.
 *
 * @param history oldest first
 * @returns the last transition that made a new seed, as it is stored; undefined: the first one's seed is in use
 */
export function lastRekey(history: readonly Transition[]): Uint8Array | undefined {
  const found = history.findLast((transition, index) => {
    const before = history[index - 1];
    return before !== undefined && isRekey(before, transition);
  });
  return found?.record;
}

/** Whether the owners of what is in force have put another seed in place of its own, by this very transition. */
export function provesRekey(
  record: Uint8Array,
  active: Pick<Snapshot, "manifest" | "latest" | "seed" | "unsigned">,
): boolean {
  const transition = parsed(record);
  if (transition?.previous === undefined) return false;
  // Whoever has the seed of before can let uses of leaves follow what the owners signed their rekey after.
  if (![active.latest.transition, ...active.unsigned].includes(transition.previous)) return false;
  if (!isRekey({ rootKey: toHex(spkiDigest(active.seed.rootKey.publicKey)) }, transition)) return false;
  const [manifestDigest, previous, meshKey, newRootKey] = [
    transition.manifest,
    transition.previous,
    transition.meshKey ?? "",
    transition.rootKey,
  ].map((digest) => Buffer.from(digest, "hex"));
  if (manifestDigest === undefined || previous === undefined || meshKey === undefined) return false;
  const change = { manifestDigest, previous, meshKey, newRootKey };
  return faultOfChange(workloadOwnersOf(active.manifest), change, transition.signatures) === undefined;
}

function parsed(record: Uint8Array): Transition | undefined {
  try {
    return parseTransition(record);
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}
