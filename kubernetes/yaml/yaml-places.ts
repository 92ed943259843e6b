import { isCollection, isPair, type Node, type YAMLMap, type YAMLSeq } from "yaml";
import { startOf, type YamlPair } from "./yaml-value.ts";

/** Where nodes stand in the text, without the comments and line ends around them. */

/** What a collection consists of. */
export type Entry = Node | YamlPair;
export type Collection = YAMLMap | YAMLSeq;

export function entriesOf(collection: Collection): Entry[] {
  return collection.items as Entry[];
}

export function entryStart(entry: Entry | undefined): number {
  return isPair(entry) ? startOf(entry.key) : startOf(entry);
}

/** Behind the last character; of a block scalar, and of a block that ends with one, it is the start of a line. */
export function endOf(entry: Entry | null | undefined): number {
  if (entry === null || entry === undefined) return 0;
  if (isPair(entry)) return entry.value === null ? endOf(entry.key) : endOf(entry.value);
  if (isCollection(entry) && entry.flow !== true && entry.items.length > 0) return endOf(entry.items.at(-1) as Entry);
  return entry.range?.[1] ?? 0;
}

/** Whether the node is there in writing: `a:` has a value, but no text. */
export function isWritten(node: Node | null): node is Node {
  return node !== null && endOf(node) > startOf(node);
}

/** Where a node starts together with its anchor and its tag. */
export function startWithProperties(text: string, node: Node): number {
  const start = startOf(node);
  const hasAnchor = "anchor" in node && node.anchor !== undefined;
  if (!hasAnchor && node.tag === undefined) return start;
  const [properties = ""] = /(?:[&!]\S*\s+)+$/.exec(text.slice(Math.max(0, start - 1024), start)) ?? [];
  return start - properties.length;
}

export function hasItems(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}
