import { CST, type Document, visit, type YAMLParseError } from "yaml";

/** What go-yaml makes of a backslash between double quotes, where the library differs from it. */
const DIFFERENT = /\\(?:'|\r?\n[ \t]*\r?\n)/;
const ESCAPE = /\\(?:\r?\n((?:[ \t]*\r?\n)+)|([^]))/g;

/** Whether an error is about `\'`, which stands for an apostrophe. */
export function isApostrophe({ code, pos: [offset] }: YAMLParseError, text: string): boolean {
  return code === "BAD_DQ_ESCAPE" && text.startsWith("\\'", offset);
}

/**
 * Sets the values of texts in double quotes to what go-yaml reads: `\'` is an apostrophe, and each empty line behind a
 * line that ends with a backslash is a line feed.
 */
export function readEscapes(document: Document.Parsed, text: string): void {
  const [start, , last] = document.range;
  if (!DIFFERENT.test(text.slice(start, last))) return;
  visit(document, {
    Scalar: (_, node) => {
      const [offset = 0, end = 0] = node.range ?? [];
      const source = text.slice(offset, end);
      if (node.type !== "QUOTE_DOUBLE" || !DIFFERENT.test(source)) return;
      const plain = source.replaceAll(ESCAPE, (pair, empty: string | undefined, escaped: string | undefined) => {
        if (empty !== undefined) return `${"\\n".repeat(empty.split("\n").length - 1)}\\\n`;
        return escaped === "'" ? escaped : pair;
      });
      node.value = CST.resolveAsScalar({
        type: "double-quoted-scalar",
        offset,
        indent: 0,
        source: plain,
        end: [],
      }).value;
    },
  });
}
