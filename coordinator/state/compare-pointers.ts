import type { LatestInsecure } from "./pointer.ts";

/**
 * How the pointer of somebody else stands to one's own, both signed by the key of one seed.
 *
 * - `same`: they are one
 * - `earlier`: one's own continues it
 * - `later`: it has a higher number. Whether it continues one's own only its chain can say; until then nothing of one's own
 *   may be served
 * - `forked`: neither continues the other: two histories have begun to differ
 */
export type Relation = "same" | "earlier" | "later" | "forked";

/** What is compared: number and SHA-256. */
export type Place = Pick<LatestInsecure, "sequence" | "digest">;

/**
 * Only one's own chain is asked. Of two Coordinators whose histories differ, the one with the higher number finds it there,
 * whatever a store shows to the other.
 *
 * @param atTheirs the pointer of one's own chain with their number, undefined where the chain begins later; it counts only
 *   where theirs is not the later one
 */
export function comparePointers(ours: Place, theirs: Place, atTheirs: Place | undefined): Relation {
  if (ours.digest === theirs.digest) return "same";
  if (theirs.sequence > ours.sequence) return "later";
  if (theirs.sequence === ours.sequence) return "forked";
  return atTheirs?.digest === theirs.digest ? "earlier" : "forked";
}
