import { type Annex, EMPTY_ANNEX, parseAnnex } from "./annex.ts";
import type { Step } from "./history.ts";
import { kindOf } from "./transition-kind.ts";

/** A step that kept the manifest and put another annex in force. */
export interface AmendingStep extends Step {
  /** Number of the manifest that was in force. */
  readonly generation: number;
  /** `use`: the Coordinator counted a leave to format a volume as used; nobody signed. */
  readonly kind: "amendment" | "use";
  /** What was in force before, and since. */
  readonly before: Annex;
  readonly after: Annex;
}

/** A history by its manifests: amendments have no number among them. */
export interface Generations {
  /** The steps that put a manifest in force, oldest first. */
  readonly manifests: readonly Step[];
  readonly amendments: readonly AmendingStep[];
}

/** @param steps oldest first; the chain was checked (`requireHistory`) */
export function generationsOf(steps: readonly Step[]): Generations {
  const manifests: Step[] = [];
  const amendments: AmendingStep[] = [];
  let before = EMPTY_ANNEX;
  for (const [index, step] of steps.entries()) {
    const kind = kindOf(steps[index - 1]?.transition, step.transition);
    const isKept = step.transition.annex === steps[index - 1]?.transition.annex;
    const after = isKept ? before : annexOf(step);
    if (kind !== "amendment" && kind !== "use") manifests.push(step);
    else amendments.push({ ...step, generation: manifests.length, kind, before, after });
    before = after;
  }
  return { manifests, amendments };
}

/** What a step has in force. Before the first amendment it is empty. */
export function annexOf(step: Pick<Step, "annex"> | undefined): Annex {
  return step?.annex === undefined ? EMPTY_ANNEX : parseAnnex(step.annex);
}
