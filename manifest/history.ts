import { fromHex } from "../bytes/hex.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { CodedError } from "../runtime/errors.ts";
import type { Fault } from "../runtime/fault.ts";
import { type Annex, EMPTY_ANNEX, parseAnnex } from "./annex.ts";
import { faultOfAmendment, faultOfReseal, faultOfUse } from "./annex-changes.ts";
import { type ChangeFault, faultOfChange, type WorkloadOwners } from "./change-signature.ts";
import { ManifestError } from "./error.ts";
import { parseJson } from "./json.ts";
import { isSameValue } from "./same-value.ts";
import { isAmending, kindOf, type TransitionKind } from "./transition-kind.ts";
import type { Transition } from "./transition.ts";

/**
 * The history of a deployment, checked from its first manifest to its last. The Coordinator does that before it is
 * recovered and `contrast verify` before it believes: a history is as good as its owners' signatures, whoever kept it.
 */
export interface Step {
  readonly transition: Transition;
  /** The bytes of the manifest that it made the active one, or kept as that. */
  readonly manifest: Uint8Array;
  /** The bytes of the annex that it names; undefined: it names none. */
  readonly annex?: Uint8Array | undefined;
}

/**
 * - `broken_history`: the records are not one chain of one deployment: restore the state, or find out who made it up
 * - `unauthorized_history`: a change lacks the leave of enough owners of the manifest before: somebody has the seed
 */
export class HistoryError extends CodedError<"broken_history" | "unauthorized_history"> {}

/** @param steps oldest first, at least one @throws HistoryError */
export function requireHistory(steps: readonly Step[]): void {
  const check = new HistoryCheck();
  for (const step of steps) check.next(step);
}

/**
 * The same for who reads one step at a time: all manifests together may be too many to hold. A step that is refused, or
 * interrupted (`settle` of crypto/), leaves nothing behind, so it can be taken again.
 */
export class HistoryCheck {
  #before: Before | undefined;
  /** How many manifests there were, and how many amendments since the last of them. */
  #count: Count = { manifests: 0, amendments: 0 };

  /**
   * @param step the oldest first
   * @returns what it does, and the annex that is in force from then on; undefined: none
   * @throws HistoryError
   */
  next({ transition, manifest, annex }: Step): { readonly kind: TransitionKind; readonly annex: Annex | undefined } {
    const before = this.#before;
    const kind = kindOf(before?.transition, transition);
    const count = counted(this.#count, kind);
    const place = placeOf(count);
    requireEqual(place, "previous transition", transition.previous, before?.transition.digest);
    requireEqual(place, "manifest", transition.manifest, sha256Hex(manifest));
    const read = { transition, manifest, annex: readAnnex(place, transition, annex) };
    let document: Document | undefined;
    if (before !== undefined) {
      const from = { ...before, document: before.document ?? documentOf(before.manifest, place.before) };
      document = isAmending(kind) ? from.document : documentOf(manifest, place.manifest);
      requireStep(place, kind, from, { ...read, document });
    }
    this.#before = { ...read, document };
    this.#count = count;
    return { kind, annex: read.annex };
  }
}

interface Count {
  readonly manifests: number;
  readonly amendments: number;
}

function counted({ manifests, amendments }: Count, kind: TransitionKind): Count {
  return isAmending(kind) ? { manifests, amendments: amendments + 1 } : { manifests: manifests + 1, amendments: 0 };
}

function placeOf({ manifests: manifest, amendments }: Count): Place {
  if (amendments === 0) return { name: `manifest ${manifest}`, manifest, before: manifest - 1 };
  return { name: `amendment ${amendments} of manifest ${manifest}`, manifest, before: manifest };
}

/** Where a step stands, for errors: its name, the number of its manifest, and that of the one before. */
interface Place {
  readonly name: string;
  readonly manifest: number;
  readonly before: number;
}

/** A step as far as it was read. */
interface Read {
  readonly transition: Transition;
  readonly manifest: Uint8Array;
  readonly document: Document;
  readonly annex: Annex | undefined;
}

/** The manifest of the first step is not read before there is a second. */
type Before = Omit<Read, "document"> & { readonly document: Document | undefined };

/** A manifest as it is written. */
type Document = Readonly<Record<string, unknown>>;

function requireEqual({ name }: Place, field: string, got = "none", want = "none"): void {
  if (got === want) return;
  throw new HistoryError("broken_history", "the history is not one chain of transitions", {
    where: `${name}, ${field}`,
    got,
    want,
  });
}

/** @throws HistoryError where the transition names an annex, and this is not it, or none that can be */
function readAnnex(place: Place, { annex: named }: Transition, bytes: Uint8Array | undefined): Annex | undefined {
  requireEqual(place, "annex", bytes === undefined ? undefined : sha256Hex(bytes), named);
  if (bytes === undefined) return undefined;
  try {
    return parseAnnex(bytes);
  } catch (cause) {
    if (!(cause instanceof ManifestError)) throw cause;
    throw brokenAnnex(place, { where: cause.where ?? "$", got: cause.got ?? "", want: cause.want ?? "" }, cause);
  }
}

function brokenAnnex({ name }: Place, { where, got, want }: Fault, cause?: unknown): HistoryError {
  const message = "an annex of the history is not what may follow the one before";
  return new HistoryError("broken_history", message, { where: `${name}, annex, ${where}`, got, want, cause });
}

function requireStep(place: Place, kind: TransitionKind, before: Read, step: Read): void {
  if (isAmending(kind)) {
    // It is one of the annex alone.
    requireEqual(place, "manifest", step.transition.manifest, before.transition.manifest);
    requireEqual(place, "seed shares", step.transition.seedShares, before.transition.seedShares);
  } else requireSeedOf(place, before, step);
  requireAnnexOf(place, kind, before, step);
  // Whoever has the seed makes those, and the annex may change in no other way then.
  if (kind !== "use") requireLeave(place, kind, before, step);
}

/** From the first amendment on there is an annex, and it changes as the kind of the step says. */
function requireAnnexOf(place: Place, kind: TransitionKind, before: Read, { annex }: Read): void {
  if (annex === undefined) {
    requireEqual(place, "annex", undefined, before.transition.annex);
    return;
  }
  const fault = faultOfAnnex(kind, before.annex, annex);
  if (fault !== undefined) throw brokenAnnex(place, fault);
}

function faultOfAnnex(kind: TransitionKind, before: Annex | undefined, after: Annex): Fault | undefined {
  if (kind === "amendment") return faultOfAmendment(before ?? EMPTY_ANNEX, after);
  if (before === undefined) return { where: "$", got: "the first annex", want: "an amendment that brings it" };
  if (kind === "use") return faultOfUse(before, after);
  // A set has the very bytes of before.
  return kind === "rekey" ? faultOfReseal(before, after) : undefined;
}

/**
 * The seed shares are others exactly where the manifest names other seed share owners or another threshold, or where the
 * seed is another: nobody makes them anew on the quiet. The root CA key is another where owners signed that very key.
 */
function requireSeedOf(place: Place, before: Read, { transition, document }: Read): void {
  const isAnew =
    isRekey(before.transition, transition) ||
    !isSameValue(seedshareOwnersIn(before.document, place.before), seedshareOwnersIn(document, place.manifest));
  const plain = isAnew ? "3" : "2";
  const version = transition.annex === undefined ? plain : "4";
  requireEqual(place, "version of the transition", String(transition.version), version);
  const { seedShares } = transition;
  const sharesBefore = before.transition.seedShares;
  if (!isAnew) requireEqual(place, "seed shares", seedShares, sharesBefore);
  else if (seedShares === sharesBefore) {
    requireEqual(place, "seed shares", seedShares, "new ones, for other owners or another seed");
  }
}

/** Whether a step made a new seed. It has a new root CA key then, and so its owners' signatures are over that. */
export function isRekey(before: Pick<Transition, "rootKey">, { rootKey }: Pick<Transition, "rootKey">): boolean {
  return rootKey !== before.rootKey;
}

function requireLeave(place: Place, kind: TransitionKind, before: Read, { transition, manifest }: Read): void {
  const { previous, meshKey, signatures, rootKey, annex } = transition;
  const change = {
    manifest,
    previous: bytesOf(previous),
    meshKey: bytesOf(meshKey),
    newRootKey: kind === "rekey" ? bytesOf(rootKey) : undefined,
    annex: kind === "amendment" ? bytesOf(annex) : undefined,
  };
  const owners = ownersOf(before.document, place.before);
  const fault = faultOfChange(owners, change, signatures);
  if (fault === undefined) return;
  throw new HistoryError("unauthorized_history", `${WHAT[kind]} lacks the leave of its workload owners`, {
    where: `${place.name}, transition ${transition.digest}`,
    got: textOf(fault),
    want: wantOf(owners, place.before),
    hint: "whoever made this history has the seed and no owner's key: trust nothing that comes from it",
  });
}

/** @param digest hex; of a step that needs a leave it is there */
function bytesOf(digest = ""): Uint8Array {
  return fromHex(digest) ?? new Uint8Array();
}

const WHAT: Readonly<Record<TransitionKind, string>> = {
  first: "a change of the manifest",
  set: "a change of the manifest",
  rekey: "a change of the manifest",
  amendment: "an amendment of the annex",
  use: "a use of a leave to format",
};

function textOf(fault: ChangeFault): string {
  if ("key" in fault) return `${fault.code}, by the key ${fault.key}`;
  return "signed" in fault ? `${fault.code}, signed by ${fault.signed}` : fault.code;
}

function wantOf({ keys, threshold }: WorkloadOwners, number: number): string {
  if (keys.length === 0) return `nothing after manifest ${number}, which names no owner`;
  return threshold === 1 ? keys.join(" or ") : `${threshold} of ${keys.join(", ")}`;
}

/**
 * Who may change a manifest of the history, and how many of them it takes. Its other keys are not judged: it was parsed
 * when it was set, and a later version may know others.
 */
function ownersOf(document: Document, number: number): WorkloadOwners {
  // Manifests of before there were thresholds have none.
  const { WorkloadOwnerKeyDigests: keys, WorkloadOwnerThreshold: threshold = 1 } = document;
  if (!isTexts(keys)) {
    throw new HistoryError("broken_history", "a manifest of the history does not name its owners", {
      where: `manifest ${number}, $.WorkloadOwnerKeyDigests`,
    });
  }
  if (isCount(threshold)) return { keys, threshold };
  throw new HistoryError("broken_history", "a manifest of the history does not say how many owners a change needs", {
    where: `manifest ${number}, $.WorkloadOwnerThreshold`,
  });
}

/** For whom the seed shares of a manifest are, and how many of them it takes. */
export interface SeedshareOwners {
  /** SubjectPublicKeyInfo, hex in lower case, sorted. */
  readonly keys: readonly string[];
  readonly threshold: number;
}

/** @param number of the manifest, for errors @throws HistoryError `broken_history` */
export function seedshareOwnersOf(manifest: Uint8Array, number: number): SeedshareOwners {
  return seedshareOwnersIn(documentOf(manifest, number), number);
}

function seedshareOwnersIn(document: Document, number: number): SeedshareOwners {
  const { SeedshareOwnerPubKeys: owners = [], SeedshareThreshold: threshold = 1 } = document;
  if (isTexts(owners) && isCount(threshold)) {
    return { keys: owners.map((key) => key.toLowerCase()).toSorted(), threshold };
  }
  throw new HistoryError("broken_history", "a manifest of the history does not name its seed share owners", {
    where: `manifest ${number}, $.SeedshareOwnerPubKeys and $.SeedshareThreshold`,
  });
}

function documentOf(manifest: Uint8Array, number: number): Document {
  try {
    const document = parseJson(manifest);
    if (typeof document === "object" && document !== null) return document as Document;
  } catch (cause) {
    if (!(cause instanceof ManifestError)) throw cause;
    throw new HistoryError("broken_history", "a manifest of the history can't be read", {
      where: `manifest ${number}`,
      cause,
    });
  }
  throw new HistoryError("broken_history", "a manifest of the history is no object", { where: `manifest ${number}` });
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((element) => typeof element === "string");
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1;
}
