/**
 * A value of JSON in its one form (RFC 8785): no space, keys by their UTF-16 code units, also those that look like numbers. A
 * map is an object.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = value instanceof Map ? ([...value] as [string, unknown][]) : Object.entries(value);
  const fields = entries
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`);
  return `{${fields.join(",")}}`;
}
