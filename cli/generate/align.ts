import { isDeepStrictEqual } from "node:util";

/** One item of a list, before and after. */
export interface Step {
  /** The place of an item that is there. */
  readonly at?: number;
  /** What is to stand there; absent: the item goes. */
  readonly wanted?: { readonly item: unknown };
}

/** Which items stay, come and go. Items with a name keep it, whatever else changes in them. */
export function align(before: readonly unknown[], wanted: readonly unknown[]): Step[] {
  const steps: Step[] = [];
  let next = 0;
  for (const item of wanted) {
    const at = before.findIndex(
      (candidate, index) => index >= next && isDeepStrictEqual(nameOf(candidate), nameOf(item)),
    );
    if (at < 0) {
      steps.push({ wanted: { item } });
      continue;
    }
    while (next < at) steps.push({ at: next++ });
    steps.push({ at: next++, wanted: { item } });
  }
  while (next < before.length) steps.push({ at: next++ });
  return steps;
}

/** The key by which Kubernetes merges lists of its objects; other items are their own name. */
function nameOf(item: unknown): unknown {
  if (!isRecord(item)) return item;
  return item["mountPath"] ?? item["name"] ?? item;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
