import { isEqual } from "../bytes/encode.ts";

/**
 * Whether two values of data are the same in every part: objects and lists of texts, numbers, flags and bytes, as parsers
 * make them. Of anything else, only a thing itself is the same.
 */
export function isSameValue(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true;
  if (one instanceof Uint8Array || other instanceof Uint8Array) {
    return one instanceof Uint8Array && other instanceof Uint8Array && isEqual(one, other);
  }
  if (!isData(one) || !isData(other) || Array.isArray(one) !== Array.isArray(other)) return false;
  const [keys, others] = [Object.keys(one), Object.keys(other)];
  return (
    keys.length === others.length && keys.every((key) => Object.hasOwn(other, key) && isSameValue(one[key], other[key]))
  );
}

type Data = Readonly<Record<string, unknown>>;

function isData(value: unknown): value is Data {
  if (typeof value !== "object" || value === null) return false;
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}
