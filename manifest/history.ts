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
  #index = 0;

  /** @param step the oldest first @throws HistoryError */
  next(step: Step): void {
    const [index, before, { transition, manifest }] = [this.#index, this.#before, step];
    requireEqual(index, "previous transition", transition.previous, before?.transition.digest);
    requireEqual(index, "manifest", transition.manifest, sha256Hex(manifest));
    if (before !== undefined) {
      for (const field of ["seedShares", "rootKey"] as const) {
        requireEqual(index, NAMES[field], transition[field], before.transition[field]);
      }
      requireLeave(index, before, step);
    }
    this.#before = step;
    this.#index++;
  }
}

const NAMES = { seedShares: "seed shares", rootKey: "root CA key" } as const;

function requireEqual(index: number, field: string, got = "none", want = "none"): void {
  if (got === want) return;
  throw new HistoryError("broken_history", "the history is not one chain of transitions", {
    where: `manifest ${index + 1}, ${field}`,
    got,
    want,
  });
}

function requireLeave(index: number, before: Step, { transition, manifest }: Step): void {
  const { previous = "", meshKey = "", signatures } = transition;
  const change = { manifest, previous: Buffer.from(previous, "hex"), meshKey: Buffer.from(meshKey, "hex") };
  const owners = ownersOf(before.manifest, index);
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
function ownersOf(manifest: Uint8Array, number: number): WorkloadOwners {
  const where = `manifest ${number}, $.WorkloadOwnerKeyDigests`;
  let read: { readonly WorkloadOwnerKeyDigests?: unknown; readonly WorkloadOwnerThreshold?: unknown } | null;
  try {
    read = parseJson(manifest) as typeof read;
  } catch (cause) {
    if (!(cause instanceof ManifestError)) throw cause;
    throw new HistoryError("broken_history", "a manifest of the history can't be read", { where, cause });
  }
  const keys: unknown = read?.WorkloadOwnerKeyDigests;
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string")) {
    throw new HistoryError("broken_history", "a manifest of the history does not name its owners", { where });
  }
  // Manifests of before there were thresholds have none.
  const { WorkloadOwnerThreshold: threshold = 1 } = read ?? {};
  if (typeof threshold === "number" && Number.isInteger(threshold) && threshold >= 1) return { keys, threshold };
  throw new HistoryError("broken_history", "a manifest of the history does not say how many owners a change needs", {
    where: `manifest ${number}, $.WorkloadOwnerThreshold`,
  });
}
