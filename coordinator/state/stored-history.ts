import { Refusal } from "../../api/refusal.ts";
import { toHex } from "../../bytes/encode.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import type { Transition } from "../../manifest/transition.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { requireSharesOf } from "./authorize.ts";
import { type CheckedHistory, requireAllowed } from "./checked-history.ts";
import { readSeedShares, readTransitions } from "./history.ts";
import { parseUsable } from "./parse-manifest.ts";
import type { Latest } from "./pointer.ts";
import { lastRekey } from "./rekey-proof.ts";
import type { SeedShares } from "./seed-shares.ts";
import type { SeedEngine } from "./seed.ts";
import type { StateOptions } from "./state-options.ts";

/** The stored history up to a pointer, checked with the seed that signed it. */
export interface StoredHistory extends CheckedHistory {
  /** Oldest first. */
  readonly history: readonly Transition[];
  readonly manifest: Manifest;
  /** SHA-256 of the manifest's bytes, hex. */
  readonly manifestDigest: string;
  readonly seedShares: SeedShares;
  /** The transition that made the seed, as it is stored; undefined: the first one did. */
  readonly rekey: Uint8Array | undefined;
}

/**
 * Reads what a Coordinator needs that has the seed. Nothing in the store is taken for true: the owners signed every change,
 * the root CA key is the seed's, and the seed shares are those that the manifest asks for.
 *
 * @throws Refusal `unauthorized_history`, `bad_handover`, `damaged_state`, `insecure_not_allowed` and others
 */
export async function readStoredHistory(
  latest: Latest,
  seed: SeedEngine,
  { store, allowInsecure }: Pick<StateOptions, "store" | "allowInsecure">,
): Promise<StoredHistory> {
  const history = await readTransitions(store, latest.transition);
  const transition = history.at(-1);
  if (transition === undefined) throw new Error("a history has a transition");
  const checked = await requireAllowed(store, history);
  const rootKey = toHex(spkiDigest(seed.rootKey.publicKey));
  if (rootKey !== transition.rootKey) {
    throw new Refusal("bad_handover", "the seed gives another root CA key than the history names", {
      where: `transition ${transition.digest}`,
      got: rootKey,
      want: transition.rootKey,
    });
  }
  const manifest = parseUsable(await store.get("manifests", transition.manifest), allowInsecure);
  const seedShares = await readSeedShares(store, transition.seedShares);
  requireSharesOf(manifest, seedShares);
  const digests = { manifestDigest: transition.manifest, rekey: lastRekey(history) };
  return { history, manifest, seedShares, ...checked, ...digests };
}
