import { Refusal } from "../../api/refusal.ts";
import { toHex } from "../../bytes/encode.ts";
import { generateEcKey, spkiDigest } from "../../pki/keys.ts";
import { requireContinuation, requireCoordinator } from "./authorize.ts";
import { movePointer, readLatestInsecure, readPointerAt } from "./history.ts";
import { type Latest, type LatestInsecure, verifyLatest } from "./pointer.ts";
import { authorityOf, type Snapshot } from "./snapshot.ts";
import type { StateOptions } from "./state-options.ts";
import { readStoredHistory } from "./stored-history.ts";

/**
 * Puts in force what the store has, with a new mesh CA. It is for a Coordinator that is behind, has the seed, and finds
 * nobody who has the secrets of what is in force: whoever set it is gone. The pointer moves on, so that there is one mesh
 * CA again; who has the last one after all learns that it is replaced.
 *
 * @param known what was in force here
 * @param highest the latest pointer that anybody has shown: what the store has must not be older
 * @param ownPolicy SHA-256 of this Coordinator's own policy, hex: it has to be a Coordinator's by the manifest in force
 * @throws Refusal `not_coordinator`, `history_forked`, `state_rolled_back`, `wrong_seed`, `conflict` and others; nothing has changed then
 */
export async function takeOver(
  known: Snapshot,
  highest: LatestInsecure,
  ownPolicy: string,
  options: StateOptions,
): Promise<Snapshot> {
  const { store, now } = options;
  const { seed } = known;
  const stored = await readLatestInsecure(store);
  const before = stored && verifyLatest(stored, seed.historyKey.publicKey);
  if (before === undefined || before.sequence < highest.sequence || before.sequence <= known.latest.sequence) {
    throw new Refusal("state_rolled_back", "the store has no later pointer than one that was seen", {
      where: "latest",
      got: before === undefined ? "none" : `number ${before.sequence}`,
      want: `number ${Math.max(highest.sequence, known.latest.sequence + 1)} or later`,
      hint: ROLLED_BACK_HINT,
    });
  }
  // It is its turn to be waited for.
  if (before.digest !== highest.digest) throw new Refusal("stale_state", "the pointer has moved on meanwhile");
  await requireContinued(store, known.latest, before);
  const { history, ...opened } = await readStoredHistory(before, seed, options);
  requireContinuation(history, known.latest.transition);
  const entry = opened.manifest.policies.get(ownPolicy);
  requireCoordinator(ownPolicy, entry ?? { role: undefined });
  const at = now(opened.manifest);
  const meshKey = await generateEcKey("P-256");
  const target = { transition: before.transition, meshKey: toHex(spkiDigest(meshKey.publicKey)) };
  const latest = await movePointer(store, before, target, seed.historyKey.privateKey);
  const authority = authorityOf({ ...opened, seed }, meshKey, at);
  // Whether whoever set it wanted those of before to be trusted is not known any more.
  return { ...opened, latest, seed, authority, previousMeshes: [], began: at };
}

export const ROLLED_BACK_HINT = "restore the latest state of the store; what is in force stays";

/** @param later what its chain has to contain `ours` for @throws Refusal `history_forked` */
export async function requireContinued(store: StateOptions["store"], ours: Latest, later: Latest): Promise<void> {
  const at = await readPointerAt(store, later, ours.sequence);
  if (at?.digest !== ours.digest) throw forkedHistory(ours, at ?? later);
}

export function forkedHistory(ours: LatestInsecure, rival: LatestInsecure): Refusal {
  const place = ({ sequence, digest }: LatestInsecure): string => `pointer ${sequence}, ${digest}`;
  return new Refusal("history_forked", "there are two histories that don't continue each other", {
    where: "latest",
    got: place(rival),
    want: place(ours),
    hint: "the store lies, or was restored while Coordinators ran: stop all, decide which history is right, recover one",
  });
}
