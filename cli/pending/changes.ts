import type { ActiveHistory } from "../workspace/active-history.ts";
import { generationsOf } from "../../manifest/generations.ts";
import { readGeneration } from "../../report/generation.ts";
import { type Change, manifestChanges } from "../../report/manifest-changes.ts";
import { parsePolicies } from "../../report/policy-facts.ts";
import { timelineOf } from "../../report/timeline.ts";

/** What a pending manifest would change, as the report of `verify` will say it. */
export interface PendingFacts {
  /** Null where one of the two can't be read. */
  readonly changes: readonly Change[] | null;
  readonly warnings: readonly string[];
}

/**
 * @param manifest the pending one
 * @param policies initdata documents of what it lists, and others
 */
export function changesIn(
  { steps, policies: known }: ActiveHistory,
  manifest: Uint8Array,
  policies: readonly Uint8Array[],
): PendingFacts {
  const parsed = parsePolicies([...known, ...policies]);
  const history = generationsOf(steps).manifests.map(({ manifest: bytes, transition: { digest, rootKey } }) => {
    return { manifest: bytes, transition: digest, signedBy: [], rootKey };
  });
  const next = { manifest, transition: "", signedBy: [], rootKey: history.at(-1)?.rootKey ?? "" };
  const generations = [...history, next].map((record, index) => readGeneration(index + 1, record, parsed));
  const [before, after] = generations.slice(-2);
  const isReadable = before?.content !== undefined && after?.content !== undefined;
  return {
    changes: isReadable ? manifestChanges(before.content, after.content) : null,
    warnings: timelineOf(generations)
      .filter(({ generation, level }) => generation === generations.length && level === "warning")
      .map(({ text }) => text),
  };
}

/** One line for each thing that changes. */
export function summaryOf(changes: readonly Change[] | null): string[] {
  if (changes === null) return ["can't be compared with the manifest in force by this version"];
  return [...new Set(changes.map(({ kind, subject, path }) => `${kind}: ${subject}${path === "" ? "" : `, ${path}`}`))];
}
