/** One item of a list, before and after. */
export interface Step {
  /** The place of an item that is there. */
  readonly at?: number;
  /** What is to stand there; absent: the item goes. */
  readonly wanted?: { readonly item: unknown };
}

/**
 * Which items stay, come and go, in linear time. Items with a name keep it, whatever else changes in them; others stay
 * as they are, or, where as many go as come, change one by one.
 */
export function align(before: readonly unknown[], wanted: readonly unknown[]): Step[] {
  /** The places of equal items, the first one last. */
  const places = new Map<string, number[]>();
  for (const [index, item] of [...before.entries()].toReversed()) {
    const key = identity(item);
    const same = places.get(key);
    if (same === undefined) places.set(key, [index]);
    else same.push(index);
  }
  const steps: Step[] = [];
  let next = 0;
  let coming: unknown[] = [];
  const closeGap = (end: number): void => {
    const going = before.slice(next, end);
    if (going.length === coming.length && ![...going, ...coming].some(hasName)) {
      for (const [index, item] of coming.entries()) steps.push({ at: next + index, wanted: { item } });
    } else {
      for (const index of going.keys()) steps.push({ at: next + index });
      for (const item of coming) steps.push({ wanted: { item } });
    }
    next = end;
    coming = [];
  };
  for (const item of wanted) {
    const same = places.get(identity(item)) ?? [];
    while ((same.at(-1) ?? next) < next) same.pop();
    const at = same.pop();
    if (at === undefined) {
      coming.push(item);
      continue;
    }
    closeGap(at);
    steps.push({ at, wanted: { item } });
    next = at + 1;
  }
  closeGap(before.length);
  return steps;
}

/** The key by which Kubernetes merges lists of its objects; other items are their own name. */
function identity(item: unknown): string {
  return hasName(item) ? `name ${String(item["mountPath"] ?? item["name"])}` : `item ${JSON.stringify(item)}`;
}

function hasName(item: unknown): item is Readonly<Record<string, unknown>> {
  return isRecord(item) && typeof (item["mountPath"] ?? item["name"]) === "string";
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
