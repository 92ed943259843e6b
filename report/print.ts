/**
 * Prints structures that hold text of strangers: names in certificates, advisories, bytes that did not parse. No such
 * text may reach a terminal as an escape sequence, or look like a line of ours.
 */

type Scalar = string | number | boolean | null | undefined;
export interface Fields {
  readonly [name: string]: Scalar | Fields | readonly number[] | readonly string[] | readonly Fields[];
}

/** As one JSON document, or as lines of `name: value`, in which what is empty is left out. */
export function render(fields: Fields, format: "text" | "json"): string {
  const text = format === "json" ? JSON.stringify(fields, undefined, 2) : linesOf(fields).join("\n");
  return `${printableLines(text)}\n`;
}

/** Characters that are not shown as they stand are escaped as in JSON; the ends of lines stay. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/** Control and format characters (text direction), separators of lines, and what Unicode does not assign. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

function linesOf(fields: Fields): string[] {
  return Object.entries(fields).flatMap(([name, value]) => {
    if (value === undefined || value === null) return [];
    if (typeof value !== "object") return [`${name}: ${printable(String(value))}`];
    if (!Array.isArray(value)) return [`${name}:`, ...linesOf(value as Fields).map(indent)];
    if (typeof value[0] === "number") return [`${name}: ${value.join(", ")}`];
    const items = value as readonly string[] | readonly Fields[];
    return items.flatMap((item) =>
      typeof item === "string" ? [`${name}: ${printable(item)}`] : [`${name}:`, ...linesOf(item).map(indent)],
    );
  });
}

function indent(line: string): string {
  return `  ${line}`;
}
