/**
 * JSON for people: what fits into a line stands in one. The same value gives the same text, and the text can stand in a
 * literal string of TOML: without `'''` and control characters.
 */
export function formatJson(value: unknown): string {
  // Neither may stand there, and both mean the same to Rego.
  return print(value, "", 0).replaceAll("'''", "''\\u0027").replaceAll("\u007f", "\\u007f");
}

const WIDTH = 120;

/** @param before how much of the first line is taken */
function print(value: unknown, indent: string, before: number): string {
  const line = printLine(value);
  // A comma may follow.
  if (typeof value !== "object" || value === null || before + line.length < WIDTH) return line;
  const inner = `${indent}  `;
  if (Array.isArray(value))
    return block(
      "[",
      value.map((item) => print(item, inner, inner.length)),
      "]",
      indent,
    );
  const items = Object.entries(value).map(([key, item]) => {
    const name = `${JSON.stringify(key)}: `;
    return name + print(item, inner, inner.length + name.length);
  });
  return block("{", items, "}", indent);
}

function block(open: string, items: readonly string[], close: string, indent: string): string {
  return `${open}\n${items.map((item) => `${indent}  ${item}`).join(",\n")}\n${indent}${close}`;
}

function printLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(printLine).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const items = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${printLine(item)}`);
  return items.length === 0 ? "{}" : `{ ${items.join(", ")} }`;
}
