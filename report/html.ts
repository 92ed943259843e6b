import { printable } from "./print.ts";

/**
 * Builds HTML in which whatever comes from outside stays text: every value of a template is escaped, for an element's
 * content and for an attribute in quotes, unless it is HTML that was built here.
 */

/** HTML that was built here. */
export class Html {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}

export type Value = string | number | Html | undefined | readonly Value[];

export function html(template: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(String.raw({ raw: partsOf(template) }, ...values.map(encode)));
}

/** The indentation of the source is nobody's business, and would double the size of a long table. */
function partsOf(template: TemplateStringsArray): readonly string[] {
  const known = parts.get(template);
  if (known !== undefined) return known;
  const made = template.map((part) => part.replaceAll(/\s*\n\s*/g, "\n"));
  parts.set(template, made);
  return made;
}

const parts = new WeakMap<TemplateStringsArray, readonly string[]>();

/** Lines and tabs of a program stay as they are, which would look like the page's own elsewhere. */
export function program(text: string): Html {
  return new Html(
    text
      .split(/([\n\t])/)
      .map((part, index) => (index % 2 === 1 ? part : escape(part)))
      .join(""),
  );
}

/** For headings and drawings, which have no room for a name of a megabyte. */
export function shorten(text: string, length: number): string {
  const shown = printable(text.slice(0, length + 1));
  return shown.length > length ? `${shown.slice(0, length - 1)}…` : shown;
}

function encode(value: Value): string {
  if (value === undefined) return "";
  if (value instanceof Html) return value.toString();
  return typeof value === "object" ? value.map(encode).join("") : escape(String(value));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escape(text: string): string {
  return printable(text).replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}
