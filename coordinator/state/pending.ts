import { Refusal } from "../../api/refusal.ts";
import { MalformedBytes } from "../../bytes/cursor.ts";
import { toHex } from "../../bytes/encode.ts";
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
  /** SHA-256 of its manifest, hex; of an amendment, of the one in force. */
  readonly manifest: string;
  /** The annex of an amendment; undefined: it is none. */
  readonly annex: Buffer | undefined;
  /** SHA-256 of what it would put in force, hex: of the annex, or of the manifest. Changes are told apart by it. */
  readonly subject: string;
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
export type Given = Pick<PendingChange, "manifest" | "annex" | "signatures" | "revoke">;

export function subjectOf({ manifest, annex }: Pick<PendingChange, "manifest" | "annex">): string {
  return annex === undefined ? manifest : sha256Hex(annex);
}

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
  /** As of a pending change. */
  readonly subject: string;
}

/** The changes that would follow what is in force. */
export async function readPending(store: Store, active: Snapshot): Promise<PendingChange[]> {
  const consents = Map.groupBy(await readConsents(store, active), ({ subject }) => subject);
  const pending: PendingChange[] = [];
  for (const given of consents.values()) {
    const [{ manifest, annex: named } = { manifest: "", annex: undefined }] = given;
    const annex = named === undefined ? undefined : await readAnnex(store, named);
    // What nobody can read, nobody can sign.
    if (named === undefined || annex !== undefined) pending.push(pendingOf(active, { manifest, annex }, given, given));
  }
  return pending;
}

/**
 * What owners allowed of a change: what came along, and what is stored of others.
 *
 * @param signatures good ones of owners of the manifest in force
 */
export async function allConsents(
  store: Store,
  active: Snapshot,
  { signatures, revoke, ...change }: Given,
): Promise<PendingChange> {
  const subject = subjectOf(change);
  const stored = (await readConsents(store, active)).filter((consent) => consent.subject === subject);
  const all = onePerKey([...signatures, ...stored]).slice(0, MOST_SIGNATURES);
  return pendingOf(active, change, all, [{ revoke }, ...stored]);
}

/**
 * Keeps what owners allowed of a change. Its manifest and its policies, or its annex, are stored already.
 *
 * @param signatures good ones of owners of the manifest in force
 * @param size of the manifest and its policies, or of the annex and the ciphertexts that are new in it, in bytes
 * @throws Refusal `too_many_pending`, `state_not_written`
 */
export async function keepConsents(
  store: Store,
  active: Snapshot,
  { signatures, revoke, ...change }: Given,
  size: number,
): Promise<PendingChange> {
  const stored = await readConsents(store, active);
  const subject = subjectOf(change);
  const annex = change.annex === undefined ? undefined : subject;
  const common = { ...placeAfter(active), manifest: change.manifest, annex, size, revoke, subject };
  const fresh = onePerKey(signatures)
    .map((signature) => ({ ...signature, ...common, owner: sha256Hex(signature.publicKey) }))
    // One of each owner, and another where the owner wants more taken away than before.
    .filter(({ owner }) => {
      const own = stored.filter((one) => one.subject === subject && one.owner === owner);
      return own.length === 0 || (revoke && !own.some((one) => one.revoke));
    });
  for (const consent of fresh) requireRoom(stored, consent);
  for (const consent of fresh) await store.put("consents", encodeConsent(consent));
  const given = [...stored.filter((one) => one.subject === subject), ...fresh];
  return pendingOf(active, change, given, given);
}

/**
 * The manifest of a pending change, to be judged anew.
 *
 * @throws Refusal `not_pending`, `damaged_state`
 */
export async function readProposal(store: Store, active: Snapshot, manifest: string): Promise<Buffer> {
  const consents = await readConsents(store, active);
  if (!consents.some(({ subject, annex }) => subject === manifest && annex === undefined)) throw notPending(manifest);
  return store.get("manifests", manifest);
}

/**
 * The annex of a pending amendment, the same.
 *
 * @param annex SHA-256, hex
 * @throws Refusal `not_pending`, `damaged_state`
 */
export async function readProposedAnnex(store: Store, active: Snapshot, annex: string): Promise<Buffer> {
  const consents = await readConsents(store, active);
  if (!consents.some((consent) => consent.annex === annex)) throw notPending(annex);
  return store.get("annexes", annex);
}

/**
 * Takes an owner's own consent back. Nobody takes back another's: whoever could, could keep all others from any change.
 *
 * @param subject of the change
 * @param owner SHA-256 of the key that the caller has proven to hold, hex
 * @throws Refusal `not_owner`, `immutable`, `not_pending`, `state_not_written`
 */
export async function withdrawConsent(
  store: Store,
  active: Snapshot,
  subject: string,
  owner: string,
): Promise<PendingChange> {
  requireOwnerKey(active.manifest, owner, "caller's");
  const consents = (await readConsents(store, active)).filter((consent) => consent.subject === subject);
  const own = consents.filter((consent) => consent.owner === owner);
  const [first] = own;
  if (first === undefined) throw notPending(subject, owner);
  for (const { record } of own) await store.remove("consents", record);
  const left = consents.filter((consent) => !own.includes(consent));
  const annex = first.annex === undefined ? undefined : ((await readAnnex(store, subject)) ?? Buffer.alloc(0));
  return { ...pendingOf(active, { manifest: first.manifest, annex }, left, left), subject };
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

function notPending(subject: string, owner?: string): Refusal {
  const whose = owner === undefined ? "no owner has" : "this owner has not";
  return new Refusal("not_pending", `${whose} signed such a change after the manifest in force`, {
    got: subject,
    want: "the SHA-256 of a pending manifest or annex",
    hint: "`contrast pending list` shows those that there are; every set, amendment and recovery ends all of them",
  });
}

function placeAfter({ latest, authority }: Snapshot): Pick<Consent, "previous" | "meshKey"> {
  return { previous: latest.transition, meshKey: toHex(spkiDigest(authority.meshKey.publicKey)) };
}

function pendingOf(
  active: Snapshot,
  change: Pick<PendingChange, "manifest" | "annex">,
  given: readonly ChangeSignature[],
  wishes: readonly Pick<Consent, "revoke">[],
): PendingChange {
  const signatures = onePerKey(given).map(({ publicKey, signature }) => ({ publicKey, signature }));
  const owners = signatures.map(({ publicKey }) => sha256Hex(publicKey));
  const wanted = workloadOwnersOf(active.manifest);
  const subject = subjectOf(change);
  const annex = change.annex === undefined ? undefined : subject;
  const signed = changeOf({ manifest: change.manifest, annex, ...placeAfter(active) });
  const fault = faultOfChange(wanted, signed, signatures);
  const count = fault === undefined ? wanted.threshold : "signed" in fault ? fault.signed : 0;
  const revoke = wishes.some((wish) => wish.revoke);
  return { ...change, subject, signatures, owners, missing: wanted.threshold - count, revoke };
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
    // An amendment is one of what is in force.
    if (consent.annex !== undefined && consent.manifest !== active.manifestDigest) continue;
    const subject = consent.annex ?? consent.manifest;
    good.push({ ...consent, record, subject, owner: sha256Hex(consent.publicKey) });
  }
  return good;
}

type Signed = Pick<Consent, "manifest" | "previous" | "meshKey" | "annex">;

function changeOf({ manifest, previous, meshKey, annex }: Signed): ChangeAhead {
  const [manifestDigest, before, mesh] = [manifest, previous, meshKey].map((digest) => Buffer.from(digest, "hex"));
  if (manifestDigest === undefined || before === undefined || mesh === undefined) throw new Error("three digests");
  const amendment = annex === undefined ? {} : { annex: Buffer.from(annex, "hex") };
  return { manifestDigest, previous: before, meshKey: mesh, ...amendment };
}

/** @returns undefined where it is missing or damaged */
async function readAnnex(store: Store, digest: string): Promise<Buffer | undefined> {
  try {
    return await store.get("annexes", digest);
  } catch (error) {
    if (isOfTheRecord(error)) return undefined;
    throw error;
  }
}

function isOfTheRecord(error: unknown): boolean {
  return error instanceof Refusal && (error.code === "damaged_state" || error.code === "unknown_state_version");
}

/** @returns undefined where it is damaged, gone, or of a version that this one does not know */
async function readConsent(store: Store, record: string): Promise<Consent | undefined> {
  try {
    return parseConsent(await store.get("consents", record));
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    if (isOfTheRecord(error)) return undefined;
    throw error;
  }
}

/** @throws Refusal `too_many_pending` */
function requireRoom(stored: readonly StoredConsent[], added: Pick<StoredConsent, "owner" | "subject" | "size">): void {
  const [own, all] = [stored.filter(({ owner }) => owner === added.owner), stored].map((consents) => {
    const sizes = new Map([...consents, added].map(({ subject, size }) => [subject, size]));
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
