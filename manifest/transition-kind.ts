import type { Transition } from "./transition.ts";

/**
 * What a step of a history does:
 *
 * - `first`: there is nothing before it
 * - `set`: it makes a manifest the active one, also where that is the one of before
 * - `rekey`: the same, with a new seed, and so with another root CA key
 * - `amendment`: it puts another annex in force, as owners signed. The manifest stays, and so do seed and mesh CA
 * - `use`: the same, without a signature: the Coordinator counts a leave to format a volume as used
 */
export type TransitionKind = "first" | "set" | "rekey" | "amendment" | "use";

/** Whether a step is allowed to do what it does is another question: history.ts. @param before undefined: none */
export function kindOf(before: Kindly | undefined, { rootKey, annex, signatures }: Kindly): TransitionKind {
  if (before === undefined) return "first";
  if (rootKey !== before.rootKey) return "rekey";
  if (annex === before.annex) return "set";
  return signatures.length === 0 ? "use" : "amendment";
}

type Kindly = Pick<Transition, "rootKey" | "annex" | "signatures">;

/** Whether a step keeps the manifest, the seed and the mesh CA of the one before. */
export function isAmending(kind: TransitionKind): boolean {
  return kind === "amendment" || kind === "use";
}

/**
 * Where the manifest changed, in a history: amendments do not count, for the number stands in certificates, which they keep.
 *
 * @param history oldest first
 * @returns how many manifests it has
 */
export function generationOf(history: readonly Kindly[]): number {
  return history.filter((step, index) => !isAmending(kindOf(history[index - 1], step))).length;
}
