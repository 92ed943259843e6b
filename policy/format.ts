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
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  // A comma may follow.
  const line = printLine(value, WIDTH - 1 - before);
  if (line !== undefined) return line;
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

/** @returns undefined where it is longer than `room`; of what is far longer no more is looked at than that */
function printLine(value: unknown, room: number): string | undefined {
  if (typeof value !== "object" || value === null) return within(JSON.stringify(value), room);
  const isArray = Array.isArray(value);
  const entries = Object.entries(value);
  const [begin, end] = isArray ? ["[", "]"] : entries.length === 0 ? ["{", "}"] : ["{ ", " }"];
  let line = begin;
  for (const [index, [key, item]] of entries.entries()) {
    line += `${index === 0 ? "" : ", "}${isArray ? "" : `${JSON.stringify(key)}: `}`;
    const text = printLine(item, room - line.length - end.length);
    if (text === undefined) return undefined;
    line += text;
  }
  return within(line + end, room);
}

function within(line: string, room: number): string | undefined {
  return line.length <= room ? line : undefined;
}
