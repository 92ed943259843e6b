import { fromUtf8 } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { isRekey, seedshareOwnersOf, type Step } from "./history.ts";

/** A seed share owner of an earlier manifest, who may know the seed that is in use, alone or with others. */
export interface FormerHolder {
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly key: string;
  /** Number of the last manifest that let this owner have it. */
  readonly manifest: number;
}

/**
 * Who may know the seed, and could not have it by the manifest in force. Shares of one seed are made for each manifest's
 * owners, and whoever met a threshold keeps the seed for ever; a rekey makes a new one. So a manifest says nothing of who
 * knows its seed where an earlier one had other owners, or asked for fewer of them: with a first manifest of his own,
 * anybody can have a genuine Coordinator enforce a manifest that he does not stand in, with a seed that he knows.
 *
 * @param steps oldest first; their chain was checked (`requireHistory`)
 * @returns each owner once, by key
 * @throws HistoryError `broken_history`
 */
export function formerSeedHolders(steps: readonly Step[]): readonly FormerHolder[] {
  const last = steps.at(-1);
  if (last === undefined) return [];
  const now = seedshareOwnersOf(last.manifest, steps.length);
  const ours = new Set(now.keys);
  const found = new Map<string, FormerHolder>();
  const first = steps.findLastIndex(({ transition }, at) => {
    const before = steps[at - 1]?.transition;
    return before === undefined || isRekey(before, transition);
  });
  for (const [index, { manifest }] of steps.entries()) {
    if (index < first) continue;
    const { keys, threshold } = seedshareOwnersOf(manifest, index + 1);
    for (const spki of keys) {
      if (ours.has(spki) && threshold >= now.threshold) continue;
      // The key of an early manifest may be one that no version of today would parse.
      const key = sha256Hex(fromHex(spki) ?? fromUtf8(spki));
      found.set(key, { key, manifest: index + 1 });
    }
  }
  return [...found.values()].toSorted((one, other) => (one.key < other.key ? -1 : 1));
}
