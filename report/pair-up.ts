/** Which items of a list are which of the list before: by what makes them equal, and of the rest by what they are for. */
export interface Paired<Item> {
  readonly kept: readonly (readonly [before: Item, after: Item])[];
  readonly added: readonly Item[];
  readonly removed: readonly Item[];
}

export function pairUp<Item>(
  before: readonly Item[],
  after: readonly Item[],
  identity: (item: Item) => string,
  purpose: (item: Item) => string,
): Paired<Item> {
  const equal = pairBy(before, after, identity);
  const alike = pairBy(equal.removed, equal.added, purpose);
  return { ...alike, kept: [...equal.kept, ...alike.kept] };
}

function pairBy<Item>(before: readonly Item[], after: readonly Item[], key: (item: Item) => string): Paired<Item> {
  const waiting = Map.groupBy(before, key);
  const kept: (readonly [Item, Item])[] = [];
  const added: Item[] = [];
  for (const item of after) {
    const old = waiting.get(key(item))?.shift();
    if (old === undefined) added.push(item);
    else kept.push([old, item]);
  }
  return { kept, added, removed: [...waiting.values()].flat() };
}
