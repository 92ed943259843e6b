import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { describeError } from "../../runtime/errors.ts";
import type { Logger } from "../../runtime/log.ts";
import { inForce } from "../observe/audit.ts";
import type { Audit } from "../observe/audit-events.ts";
import type { PendingChange } from "../state/pending.ts";
import type { PendingChanges } from "../state/pending-changes.ts";
import type { SetResult } from "../state/set.ts";
import type { Snapshot } from "../state/snapshot.ts";
import type { StateGuard } from "../state/state-guard.ts";

/** What log and audit log are told of a change of the manifest, whatever it came over. */
export interface Carrier {
  /** Its address and port. */
  readonly peer: string;
  /** SHA-256 of the key that it proved to hold, hex. Over HTTP nobody proves one. */
  readonly key?: string;
}

interface Told {
  readonly guard: StateGuard;
  readonly audit: Audit;
  readonly log: Logger;
}

export function tellOfSet(result: SetResult, who: Carrier, { audit, log }: Omit<Told, "guard">): void {
  const { snapshot, owners, overlapRefused, hasNewShares, isRekey } = result;
  const { latest, manifestDigest, generation, seedShares } = snapshot;
  const [previous] = snapshot.previousMeshes;
  const trust = { previousMeshCaUntil: previous?.until.toISOString(), overlapRefused };
  const signers = owners.length > 0 ? owners : who.key;
  log.info({ manifest: manifestDigest, generation, by: signers, ...trust }, "manifest set");
  const set = { manifest: manifestDigest, generation, transition: latest.transition };
  const [owner] = owners;
  const window = previous && { until: previous.until.toISOString() };
  const by = owner === undefined ? {} : { owner, owners };
  audit.record({ event: "manifest_set", ...who, ...by, ...set, ...window });
  if (hasNewShares) audit.record({ event: "seed_shares_made", ...who, ...sharedAmong(snapshot) });
  if (!isRekey) return;
  const root = toHex(spkiDigest(snapshot.seed.rootKey.publicKey));
  audit.record({ event: "rekeyed", ...who, owners, ...set, root, secrets: seedShares.secretVersion });
}

export function tellOfPending(change: PendingChange, who: Carrier, { guard, audit, log }: Told): void {
  const { subject, owners, missing } = change;
  log.info({ pending: subject, missing, by: owners }, "change waits for more owners' signatures");
  audit.record({ event: "change_pending", ...who, ...inForce(guard), pending: subject, owners, missing });
}

/** The answer does not wait for it: the change is done. What stays is passed over, and removed after the next one. */
export function tidyLater({ pending, log }: { readonly pending: PendingChanges; readonly log: Logger }): void {
  pending.tidy().catch((error: unknown) => {
    log.warn(`consents to outdated changes can't be removed: ${describeError(error)}`);
  });
}

function sharedAmong({ manifestDigest: manifest, generation, seedShares: { shares, threshold } }: Snapshot) {
  return { manifest, generation, holders: shares.map(({ publicKey }) => sha256Hex(publicKey)), threshold };
}
