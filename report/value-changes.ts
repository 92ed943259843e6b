/**
 * The difference of two JSON values for people who read it: one line for each place. Lists of objects are compared by
 * what names their items, lists of texts and numbers item by item as long as the rest keeps its order.
 */
export interface ValueChange {
  /** `containers.web.image`; empty: the value itself. */
  readonly path: string;
  /** JSON; undefined: there was none. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

export function valueChanges(before: unknown, after: unknown, path = ""): ValueChange[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const [old, now] = [entriesOf(before), entriesOf(after)];
  if (old !== undefined && now !== undefined) {
    const keys = new Set([...old.keys(), ...now.keys()]);
    return [...keys].flatMap((key) => valueChanges(old.get(key), now.get(key), path === "" ? key : `${path}.${key}`));
  }
  return scalarListChanges(before, after, path) ?? [{ path, from: JSON.stringify(before), to: JSON.stringify(after) }];
}

type Entries = ReadonlyMap<string, unknown>;

/** Of an object, or of a list whose items have names of their own: containers, mounts. */
function entriesOf(value: unknown): Entries | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (!Array.isArray(value)) return new Map(Object.entries(value));
  const names = value.map(nameOf);
  if (value.length === 0 || names.includes(undefined) || new Set(names).size < names.length) return undefined;
  return new Map(value.map((item: unknown, index) => [names[index] ?? "", item]));
}

function nameOf(item: unknown): string | undefined {
  if (typeof item !== "object" || item === null) return undefined;
  const { name, destination, type } = item as Readonly<Record<string, unknown>>;
  return [name, destination, type].find((key) => typeof key === "string" && key !== "") as string | undefined;
}

function scalarListChanges(before: unknown, after: unknown, path: string): ValueChange[] | undefined {
  const [old, now] = [before, after].map(scalarsOf);
  if (old === undefined || now === undefined) return undefined;
  const [oldItems, newItems] = [new Set(old), new Set(now)];
  // Of a list with an item twice, or in another order, only the whole says what changed.
  if (oldItems.size < old.length || newItems.size < now.length) return undefined;
  const kept = (items: readonly string[], others: ReadonlySet<string>): string =>
    JSON.stringify(items.filter((item) => others.has(item)));
  if (kept(old, newItems) !== kept(now, oldItems)) return undefined;
  return [
    ...old.filter((item) => !newItems.has(item)).map((item) => ({ path, from: item, to: undefined })),
    ...now.filter((item) => !oldItems.has(item)).map((item) => ({ path, from: undefined, to: item })),
  ];
}

/** As JSON, so that `1` and `"1"` are two things. */
function scalarsOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.some((item) => typeof item === "object" && item !== null)) return undefined;
  return value.map((item: unknown) => JSON.stringify(item));
}
