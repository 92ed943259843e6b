/**
 * Remembers what follows from parsed objects alone, for as long as they live. They are never written to, so it can't
 * change.
 */

/** @param derive must depend on nothing but its argument */
export function memoize<K extends object, T>(derive: (key: K) => T): (key: K) => T {
  const known = new WeakMap<K, { readonly value: T }>();
  return (key) => {
    const before = known.get(key);
    if (before !== undefined) return before.value;
    const value = derive(key);
    known.set(key, { value });
    return value;
  };
}

/**
 * Remembers that a check of two objects held. That it failed is not remembered.
 *
 * @param check must depend on nothing but the two; `what` names the first, for the error
 */
export function onceTrue<A extends object, B extends object>(
  check: (a: A, b: B, what: string) => boolean,
): (a: A, b: B, what: string) => boolean {
  const known = memoize<A, WeakSet<B>>(() => new WeakSet());
  return (a, b, what) => {
    const held = known(a);
    if (held.has(b)) return true;
    if (!check(a, b, what)) return false;
    held.add(b);
    return true;
  };
}
