import { Refusal } from "../../api/refusal.ts";
import { MalformedBytes } from "../../bytes/cursor.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { ChangeAhead } from "../../manifest/change.ts";
import { type ChangeSignature, faultOfChange, MOST_SIGNATURES, onePerKey } from "../../manifest/change-signature.ts";
import { workloadOwnersOf } from "../../manifest/manifest.ts";
import { spkiDigest } from "../../pki/keys.ts";
import type { Store } from "../../store/store.ts";
import { requireOwnerKey } from "./authorize.ts";
import { type Consent, encodeConsent, parseConsent } from "./consent.ts";
import { readTransitions } from "./history.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * Changes that some owners allowed and that lack others' leave. They are in the store, beside the history, so that owners
 * find each other's consents through any Coordinator that has this store. The store is the host's: what is read from it is
 * checked at each use by the owners' signatures, and what does not stand up to that is passed over. The host can hide a
 * consent, and bring one back that was withdrawn, as long as the transition and the mesh CA are those that it names.
 */
export interface PendingChange {
  /** SHA-256 of its manifest, hex. */
  readonly manifest: string;
  /** One of each key, every one of them good. */
  readonly signatures: readonly ChangeSignature[];
  /** SHA-256 of the keys of the owners who signed, hex. */
  readonly owners: readonly string[];
  /** How many more owners have to sign; 0 only for a moment. */
  readonly missing: number;
  /** Whether one of them wants no certificate of before to be trusted any more. */
  readonly revoke: boolean;
}

/** What came along with a request. */
type Given = Pick<PendingChange, "manifest" | "signatures" | "revoke">;

/** What is pending of an owner, and of all together: no owner can fill the store, nor keep the others out. */
export const PENDING_LIMITS = {
  owner: { changes: 4, bytes: 16 * 2 ** 20 },
  all: { changes: 32, bytes: 64 * 2 ** 20 },
} as const;

/** So many records are looked at: what a host puts there beside ours costs no more. */
const MOST_RECORDS = 1024;

interface StoredConsent extends Consent {
  /** SHA-256 of the record. */
  readonly record: string;
  /** SHA-256 of the owner's key. */
  readonly owner: string;
}

/** The changes that would follow what is in force. */
export async function readPending(store: Store, active: Snapshot): Promise<PendingChange[]> {
  const consents = Map.groupBy(await readConsents(store, active), ({ manifest }) => manifest);
  return [...consents].map(([manifest, given]) => pendingOf(active, manifest, given, given));
}

/**
 * What owners allowed of a change: what came along, and what is stored of others.
 *
 * @param signatures good ones of owners of the manifest in force
 */
export async function allConsents(
  store: Store,
  active: Snapshot,
  { manifest, signatures, revoke }: Given,
): Promise<PendingChange> {
  const stored = (await readConsents(store, active)).filter((consent) => consent.manifest === manifest);
  const all = onePerKey([...signatures, ...stored]).slice(0, MOST_SIGNATURES);
  return pendingOf(active, manifest, all, [{ revoke }, ...stored]);
}

/**
 * Keeps what owners allowed of a change. Its manifest and its policies are stored already.
 *
 * @param signatures good ones of owners of the manifest in force
 * @param size of the manifest and its policies, in bytes
 * @throws Refusal `too_many_pending`, `state_not_written`
 */
export async function keepConsents(
  store: Store,
  active: Snapshot,
  { manifest, signatures, revoke }: Given,
  size: number,
): Promise<PendingChange> {
  const stored = await readConsents(store, active);
  const place = placeAfter(active);
  const fresh = onePerKey(signatures)
    .map((signature) => ({ ...signature, ...place, manifest, size, revoke, owner: sha256Hex(signature.publicKey) }))
    // One of each owner, and another where the owner wants more taken away than before.
    .filter(({ owner }) => {
      const own = stored.filter((one) => one.manifest === manifest && one.owner === owner);
      return own.length === 0 || (revoke && !own.some((one) => one.revoke));
    });
  for (const consent of fresh) requireRoom(stored, consent);
  for (const consent of fresh) await store.put("consents", encodeConsent(consent));
  const given = [...stored.filter((one) => one.manifest === manifest), ...fresh];
  return pendingOf(active, manifest, given, given);
}

/**
 * The manifest of a pending change, to be judged anew.
 *
 * @throws Refusal `not_pending`, `damaged_state`
 */
export async function readProposal(store: Store, active: Snapshot, manifest: string): Promise<Buffer> {
  const consents = await readConsents(store, active);
  if (!consents.some((consent) => consent.manifest === manifest)) throw notPending(manifest);
  return store.get("manifests", manifest);
}

/**
 * Takes an owner's own consent back. Nobody takes back another's: whoever could, could keep all others from any change.
 *
 * @param owner SHA-256 of the key that the caller has proven to hold, hex
 * @throws Refusal `not_owner`, `immutable`, `not_pending`, `state_not_written`
 */
export async function withdrawConsent(
  store: Store,
  active: Snapshot,
  manifest: string,
  owner: string,
): Promise<PendingChange> {
  requireOwnerKey(active.manifest, owner, "caller's");
  const consents = (await readConsents(store, active)).filter((consent) => consent.manifest === manifest);
  const own = consents.filter((consent) => consent.owner === owner);
  if (own.length === 0) throw notPending(manifest, owner);
  for (const { record } of own) await store.remove("consents", record);
  const left = consents.filter((consent) => !own.includes(consent));
  return pendingOf(active, manifest, left, left);
}

/**
 * Removes the consents that can't be used any more: their transition is one of the history, and not the latest. What
 * follows a transition that is not known here may be another Coordinator's, which is ahead.
 */
export async function removeOutdatedConsents(store: Store, active: Snapshot): Promise<void> {
  const records = (await store.list("consents")).slice(0, MOST_RECORDS);
  if (records.length === 0) return;
  const transitions = await readTransitions(store, active.latest.transition);
  const past = new Set(transitions.slice(0, -1).map(({ digest }) => digest));
  for (const record of records) {
    const consent = await readConsent(store, record);
    if (consent !== undefined && past.has(consent.previous)) await store.remove("consents", record);
  }
}

function notPending(manifest: string, owner?: string): Refusal {
  const whose = owner === undefined ? "no owner has" : "this owner has not";
  return new Refusal("not_pending", `${whose} signed such a change after the manifest in force`, {
    got: manifest,
    want: "the SHA-256 of a pending manifest",
    hint: "`contrast pending list` shows those that there are; every set and every recovery ends all of them",
  });
}

function placeAfter({ latest, authority }: Snapshot): Pick<Consent, "previous" | "meshKey"> {
  return { previous: latest.transition, meshKey: spkiDigest(authority.meshKey.publicKey).toString("hex") };
}

function pendingOf(
  active: Snapshot,
  manifest: string,
  given: readonly ChangeSignature[],
  wishes: readonly Pick<Consent, "revoke">[],
): PendingChange {
  const signatures = onePerKey(given).map(({ publicKey, signature }) => ({ publicKey, signature }));
  const owners = signatures.map(({ publicKey }) => sha256Hex(publicKey));
  const wanted = workloadOwnersOf(active.manifest);
  const fault = faultOfChange(wanted, changeOf({ manifest, ...placeAfter(active) }), signatures);
  const signed = fault === undefined ? wanted.threshold : "signed" in fault ? fault.signed : 0;
  const revoke = wishes.some((wish) => wish.revoke);
  return { manifest, signatures, owners, missing: wanted.threshold - signed, revoke };
}

/** Those that are good for what is in force; an owner may have several for one change. */
async function readConsents(store: Store, active: Snapshot): Promise<StoredConsent[]> {
  const place = placeAfter(active);
  const owners = { ...workloadOwnersOf(active.manifest), threshold: 1 };
  const good: StoredConsent[] = [];
  for (const record of (await store.list("consents")).toSorted().slice(0, MOST_RECORDS)) {
    const consent = await readConsent(store, record);
    if (consent === undefined) continue;
    if (consent.previous !== place.previous || consent.meshKey !== place.meshKey) continue;
    if (faultOfChange(owners, changeOf(consent), [consent]) !== undefined) continue;
    good.push({ ...consent, record, owner: sha256Hex(consent.publicKey) });
  }
  return good;
}

function changeOf({ manifest, previous, meshKey }: Pick<Consent, "manifest" | "previous" | "meshKey">): ChangeAhead {
  const [manifestDigest, before, mesh] = [manifest, previous, meshKey].map((digest) => Buffer.from(digest, "hex"));
  if (manifestDigest === undefined || before === undefined || mesh === undefined) throw new Error("three digests");
  return { manifestDigest, previous: before, meshKey: mesh };
}

/** @returns undefined where it is damaged, gone, or of a version that this one does not know */
async function readConsent(store: Store, record: string): Promise<Consent | undefined> {
  try {
    return parseConsent(await store.get("consents", record));
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    const isOfTheRecord =
      error instanceof Refusal && (error.code === "damaged_state" || error.code === "unknown_state_version");
    if (isOfTheRecord) return undefined;
    throw error;
  }
}

/** @throws Refusal `too_many_pending` */
function requireRoom(stored: readonly StoredConsent[], added: Consent & { readonly owner: string }): void {
  const [own, all] = [stored.filter(({ owner }) => owner === added.owner), stored].map((consents) => {
    const sizes = new Map([...consents, added].map(({ manifest, size }) => [manifest, size]));
    return { changes: sizes.size, bytes: [...sizes.values()].reduce((sum, size) => sum + size, 0) };
  });
  if (own === undefined || all === undefined) throw new Error("there are two");
  const { owner: mine, all: everybodys } = PENDING_LIMITS;
  const isFull = own.changes > mine.changes || own.bytes > mine.bytes;
  if (!isFull && all.changes <= everybodys.changes && all.bytes <= everybodys.bytes) return;
  const [got, want] = isFull ? [own, mine] : [all, everybodys];
  throw new Refusal("too_many_pending", "too many changes wait for owners' signatures", {
    where: isFull ? `the workload owner ${added.owner}` : "all workload owners together",
    got: `${got.changes} changes, ${got.bytes} bytes`,
    want: `at most ${want.changes} changes, ${want.bytes} bytes`,
    hint: "take some back by `contrast pending drop`; a change that is set ends all others",
  });
}
