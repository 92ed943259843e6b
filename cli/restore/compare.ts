import type { StoredHistory } from "../workspace/stored-history.ts";

/**
 * What a backup is beside the history that is there.
 *
 * - `same`: their pointers are the same
 * - `newer`: it continues what is there
 * - `older`: what is there continues it
 * - `other`: neither
 */
export type Relation = "same" | "newer" | "older" | "other";

type Chains = Pick<StoredHistory, "pointers" | "transitions"> & {
  readonly pointer: Pick<StoredHistory["pointer"], "sequence">;
};

/** Pointers name those before them. Those of version 1, of sequence 0, do not: there the transitions have to do. */
export function relationOf(backup: Chains, present: Chains): Relation {
  const byPointers = relationOfChains(backup.pointers, present.pointers);
  if (byPointers !== "other") return byPointers;
  const isByTransitions = backup.pointer.sequence === 0 || present.pointer.sequence === 0;
  const byTransitions = isByTransitions ? relationOfChains(backup.transitions, present.transitions) : "other";
  if (byTransitions !== "same") return byTransitions;
  // Of the same transition: every later pointer is of version 2.
  if (backup.pointer.sequence === present.pointer.sequence) return "other";
  return backup.pointer.sequence > present.pointer.sequence ? "newer" : "older";
}

/** @param backup the latest first, as `present` */
function relationOfChains(backup: readonly string[], present: readonly string[]): Relation {
  const [[ours], [theirs]] = [backup, present];
  if (ours === undefined || theirs === undefined) return "other";
  if (ours === theirs) return "same";
  if (backup.includes(theirs)) return "newer";
  return present.includes(ours) ? "older" : "other";
}
