import { type Document, isCollection, isMap, isScalar, isSeq, type Node, stringify, visit } from "yaml";
import { isJson } from "./json-stream.ts";
import { CAREFUL_SCHEMA } from "./kubernetes-yaml.ts";
import type { TextEdits } from "./text-edits.ts";
import { endOf } from "./yaml-places.ts";
import { startOf, type YamlPair } from "./yaml-value.ts";

/** How a document is written; what is added to it is written in the same way. */
export interface Style {
  readonly json: boolean;
  /** JSON without spaces. */
  readonly compact: boolean;
  /** Of block maps in block maps, in columns. */
  readonly indent: number;
  /** Whether lists are indented, too; most of Kubernetes' own files have them in the column of their key. */
  readonly indentSeq: boolean;
}

export function styleOf(document: Document.Parsed, edits: TextEdits): Style {
  const json = isCollection(document.contents) && document.contents.flow === true && isJson(edits.text);
  const indents: number[] = [];
  const indentedSeqs: boolean[] = [];
  visit(document, {
    Map: (_, map) => {
      if (map.flow === true) return visit.SKIP;
      // The rest of a large document is as its beginning.
      if (indents.length > 200) return visit.BREAK;
      const column = edits.column(startOf(map));
      for (const { value } of map.items as YamlPair[]) {
        if (!isCollection(value) || value.flow === true || value.items.length === 0) continue;
        const by = edits.column(startOf(value)) - column;
        if (isSeq(value)) indentedSeqs.push(by > 0);
        if (by > 0) indents.push(by);
      }
      return undefined;
    },
  });
  return {
    json,
    compact: json && isCompact(document.contents),
    indent: mostFrequent(indents) ?? 2,
    indentSeq: mostFrequent(indentedSeqs) ?? true,
  };
}

/** The lines of a value in block style. */
export function blockLines(value: unknown, { indent, indentSeq }: Style): string[] {
  return stringify(value, { ...OPTIONS, indent, indentSeq })
    .trimEnd()
    .split("\n");
}

/** A value without items on one line of a block. */
export function inlineText(value: unknown, like: Node | null): string {
  return stringify({ k: value }, { ...OPTIONS, ...quotesOf(like, value) })
    .trimEnd()
    .slice("k: ".length);
}

/** A value on one line, between brackets. */
export function flowText(value: unknown, style: Style, like: Node | null = null): string {
  if (style.compact) return JSON.stringify(value);
  if (style.json) {
    return JSON.stringify(value, null, 1)
      .replaceAll(/(?<=[[{])\n *|\n *(?=[\]}])/g, "")
      .replaceAll(/\n */g, " ");
  }
  const options = {
    ...OPTIONS,
    ...quotesOf(like, value),
    collectionStyle: "flow",
    flowCollectionPadding: false,
  } as const;
  return stringify([value], options).trimEnd().slice(1, -1);
}

const OPTIONS = {
  schema: CAREFUL_SCHEMA,
  lineWidth: 0,
  blockQuote: false,
  doubleQuotedAsJSON: true,
  aliasDuplicateObjects: false,
  defaultKeyType: "PLAIN",
} as const;

/** The quotes of what was there, where they can hold the new text. */
function quotesOf(node: Node | null, value: unknown): { readonly defaultStringType?: "QUOTE_DOUBLE" | "QUOTE_SINGLE" } {
  if (!isScalar(node) || typeof value !== "string" || value.includes("\n")) return {};
  const { type } = node;
  return type === "QUOTE_DOUBLE" || type === "QUOTE_SINGLE" ? { defaultStringType: type } : {};
}

function isCompact(root: unknown): boolean {
  const [first] = isMap(root) ? (root.items as YamlPair[]) : [];
  return first !== undefined && startOf(first.value) === endOf(first.key) + 1;
}

function mostFrequent<T>(values: readonly T[]): T | undefined {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}
