import { isDeepStrictEqual } from "node:util";
import { sha256Hex } from "../bytes/sha256.ts";
import { CodedError } from "../runtime/errors.ts";
import { type ChangeFault, faultOfChange, type WorkloadOwners } from "./change-signature.ts";
import { ManifestError } from "./error.ts";
import { parseJson } from "./json.ts";
import type { Transition } from "./transition.ts";

/**
 * The history of a deployment, checked from its first manifest to its last. The Coordinator does that before it is
 * recovered and `contrast verify` before it believes: a history is as good as its owners' signatures, whoever kept it.
 */
export interface Step {
  readonly transition: Transition;
  /** The bytes of the manifest that it made the active one. */
  readonly manifest: Uint8Array;
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

/** The same for who reads one step at a time: all manifests together may be too many to hold. */
export class HistoryCheck {
  #before: Step | undefined;
  /** Of the manifest before, where it was read already. */
  #document: Document | undefined;
  #index = 0;

  /** @param step the oldest first @throws HistoryError */
  next(step: Step): void {
    const [index, before, { transition, manifest }] = [this.#index, this.#before, step];
    requireEqual(index, "previous transition", transition.previous, before?.transition.digest);
    requireEqual(index, "manifest", transition.manifest, sha256Hex(manifest));
    if (before !== undefined) {
      const owners = this.#document ?? documentOf(before.manifest, index);
      this.#document = documentOf(manifest, index + 1);
      requireSeedOf(index, [before.transition, owners], [transition, this.#document]);
      requireLeave(index, before.transition, owners, step);
    }
    this.#before = step;
    this.#index++;
  }
}

/** A manifest as it is written. */
type Document = Readonly<Record<string, unknown>>;

function requireEqual(index: number, field: string, got = "none", want = "none"): void {
  if (got === want) return;
  throw new HistoryError("broken_history", "the history is not one chain of transitions", {
    where: `manifest ${index + 1}, ${field}`,
    got,
    want,
  });
}

/**
 * The seed shares are others exactly where the manifest names other seed share owners or another threshold, or where the
 * seed is another: nobody makes them anew on the quiet. The root CA key is another where owners signed that very key.
 */
function requireSeedOf(
  index: number,
  [before, documentBefore]: readonly [Transition, Document],
  [transition, document]: readonly [Transition, Document],
): void {
  const isAnew =
    isRekey(before, transition) ||
    !isDeepStrictEqual(seedshareOwnersIn(documentBefore, index), seedshareOwnersIn(document, index + 1));
  requireEqual(index, "version of the transition", String(transition.version), isAnew ? "3" : "2");
  const { seedShares } = transition;
  if (!isAnew) requireEqual(index, "seed shares", seedShares, before.seedShares);
  else if (seedShares === before.seedShares) {
    requireEqual(index, "seed shares", seedShares, "new ones, for other owners or another seed");
  }
}

/** Whether a step made a new seed. It has a new root CA key then, and so its owners' signatures are over that. */
export function isRekey(before: Pick<Transition, "rootKey">, { rootKey }: Pick<Transition, "rootKey">): boolean {
  return rootKey !== before.rootKey;
}

function requireLeave(index: number, before: Transition, document: Document, { transition, manifest }: Step): void {
  const { previous = "", meshKey = "", signatures, rootKey } = transition;
  const change = {
    manifest,
    previous: Buffer.from(previous, "hex"),
    meshKey: Buffer.from(meshKey, "hex"),
    newRootKey: isRekey(before, transition) ? Buffer.from(rootKey, "hex") : undefined,
  };
  const owners = ownersOf(document, index);
  const fault = faultOfChange(owners, change, signatures);
  if (fault === undefined) return;
  throw new HistoryError("unauthorized_history", "a change of the manifest lacks the leave of its workload owners", {
    where: `manifest ${index + 1}, transition ${transition.digest}`,
    got: textOf(fault),
    want: wantOf(owners, index),
    hint: "whoever made this history has the seed and no owner's key: trust nothing that comes from it",
  });
}

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
