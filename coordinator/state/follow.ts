import { isAmending, kindOf } from "../../manifest/transition-kind.ts";
import type { Transition } from "../../manifest/transition.ts";
import { Refusal } from "../../api/refusal.ts";
import { toHex } from "../../bytes/encode.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { requireContinuation } from "./authorize.ts";
import { readLatestInsecure } from "./history.ts";
import { type Latest, type LatestInsecure, verifyLatest } from "./pointer.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateOptions } from "./state-options.ts";
import { readStoredHistory } from "./stored-history.ts";
import { requireContinued } from "./take-over.ts";

/**
 * What another Coordinator has put in force, where it is an amendment of what is in force here. Whoever has the seed and the
 * mesh CA lacks no secret then: no peer is asked, nothing is made anew, and every certificate stays good.
 *
 * @param known what was in force here
 * @param highest the latest pointer that anybody has shown: what the store has must not be older
 * @returns undefined where it is something else that is in force: a peer has its secrets
 * @throws Refusal `history_forked`, `unauthorized_history`, `damaged_state` and others; nothing has changed then
 */
export async function followAmendments(
  known: Snapshot,
  highest: LatestInsecure,
  options: Pick<StateOptions, "store" | "allowInsecure">,
): Promise<Snapshot | undefined> {
  const latest = await readLatest(known, options);
  if (latest === undefined || latest.sequence < highest.sequence) return undefined;
  const meshKey = toHex(spkiDigest(known.authority.meshKey.publicKey));
  if (latest.sequence <= known.latest.sequence || latest.meshKey !== meshKey) return undefined;
  await requireContinued(options.store, known.latest, latest);
  const { history, annex, unsigned } = await readStoredHistory(latest, known.seed, options);
  requireContinuation(history, known.latest.transition);
  if (!isAmended(history, known.latest.transition)) return undefined;
  return { ...known, latest, annex, unsigned };
}

/** Whether nothing but amendments came after a transition of a history. */
export function isAmended(history: readonly Transition[], after: string): boolean {
  const begin = history.findIndex(({ digest }) => digest === after);
  const later = history.slice(begin + 1);
  return begin >= 0 && later.every((step, index) => isAmending(kindOf(history[begin + index], step)));
}

/** @returns undefined: there is none, or another seed's */
async function readLatest({ seed }: Snapshot, { store }: Pick<StateOptions, "store">): Promise<Latest | undefined> {
  const stored = await readLatestInsecure(store);
  try {
    return stored && verifyLatest(stored, seed.historyKey.publicKey);
  } catch (error) {
    if (error instanceof Refusal && error.code === "wrong_seed") return undefined;
    throw error;
  }
}
