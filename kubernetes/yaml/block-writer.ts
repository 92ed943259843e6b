import { isScalar, type Node, type YAMLMap, type YAMLSeq } from "yaml";
import type { TextEdits } from "./text-edits.ts";
import {
  type Collection,
  endOf,
  entriesOf,
  type Entry,
  entryStart,
  hasItems,
  isWritten,
  startWithProperties,
} from "./yaml-places.ts";
import { blockLines, inlineText, type Style } from "./yaml-style.ts";
import { startOf, type YamlPair } from "./yaml-value.ts";

/** Changes block collections, whose entries stand on lines of their own. */
export class BlockWriter {
  readonly #edits: TextEdits;
  readonly #style: Style;

  constructor(edits: TextEdits, style: Style) {
    this.#edits = edits;
    this.#style = style;
  }

  /** Whether these entries can go: what stands behind a dash can't be taken out with its line. */
  canRemove(collection: Collection, gone: ReadonlySet<Entry>): boolean {
    const [first] = entriesOf(collection);
    return first === undefined || !gone.has(first) || this.#edits.isFirst(startOf(collection));
  }

  canInsertFirst(seq: YAMLSeq): boolean {
    return this.#edits.isFirst(startOf(seq));
  }

  remove(collection: Collection, gone: ReadonlySet<Entry>): void {
    for (const entry of gone) {
      this.#edits.replace(this.#firstLine(collection, entry), this.#edits.afterLine(endOf(entry)), "");
    }
  }

  setValue(map: YAMLMap, pair: YamlPair, value: unknown): void {
    const { value: node } = pair;
    // `? key` without a colon; nobody writes that for Kubernetes, and the document is then refused.
    if (node === null) return;
    const colon = this.#edits.text.indexOf(":", endOf(pair.key)) + 1;
    const end = isWritten(node) ? endOf(node) : colon;
    if (hasItems(value)) {
      this.#edits.replace(colon, end, this.#tail(end));
      const lines = blockLines({ k: value }, this.#style).slice(1);
      this.#edits.insertLines(this.#edits.afterLine(end), this.#column(map), lines);
      return;
    }
    const text = inlineText(value, node) + this.#tail(end);
    if (isWritten(node) && keepsProperties(node, value)) this.#edits.replace(startOf(node), end, text);
    else this.#edits.replace(colon, end, ` ${text}`);
  }

  setItem(_: YAMLSeq, item: Node, value: unknown): void {
    const { text } = this.#edits;
    const end = endOf(item);
    const start = keepsProperties(item, value) ? startOf(item) : startWithProperties(text, item);
    const space = text[start - 1] === "-" ? " " : "";
    const [first = "", ...rest] = hasItems(value) ? blockLines(value, this.#style) : [inlineText(value, item)];
    this.#edits.replace(start, end, space + first + this.#tail(end));
    if (rest.length === 0) return;
    this.#edits.insertLines(this.#edits.afterLine(end), this.#edits.column(start) + space.length, rest);
  }

  /** Writes out what a merge brought. */
  setMerge(map: YAMLMap, pair: YamlPair, values: Readonly<Record<string, unknown>>): void {
    const lines = blockLines(values, this.#style).join(
      this.#edits.eol(startOf(pair.key)) + " ".repeat(this.#column(map)),
    );
    this.#edits.replace(startOf(pair.key), endOf(pair), lines + this.#tail(endOf(pair)));
  }

  append(map: YAMLMap, key: string, value: unknown): void {
    const lines = blockLines({ [key]: value }, this.#style);
    this.#edits.insertLines(this.#edits.afterLine(endOf(map)), this.#column(map), lines);
  }

  insertItem(seq: YAMLSeq, previous: Node | undefined, value: unknown): void {
    const position = previous === undefined ? this.#front(seq) : this.#edits.afterLine(endOf(previous));
    this.#edits.insertLines(position, this.#column(seq), blockLines([value], this.#style));
  }

  /** Before the comment of the first item: it belongs to that one. */
  #front(seq: YAMLSeq): number {
    let front = this.#edits.lineStart(startOf(seq));
    for (;;) {
      const before = this.#edits.lineStart(front - 1);
      if (front === 0 || !/^[ \t]*(?:#.*)?\r?\n$/.test(this.#edits.text.slice(before, front))) return front;
      front = before;
    }
  }

  /** The start of the line with the key, or with the dash, which may stand on a line above its item. */
  #firstLine(collection: Collection, entry: Entry): number {
    const { text } = this.#edits;
    let line = this.#edits.lineStart(entryStart(entry));
    if ("key" in entry) return line;
    while (line > 0 && text[line + this.#column(collection)] !== "-") line = this.#edits.lineStart(line - 1);
    return line;
  }

  #column(collection: Collection): number {
    return this.#edits.column(startOf(collection));
  }

  #tail(end: number): string {
    return this.#edits.text[end - 1] === "\n" ? this.#edits.eol(end) : "";
  }
}

/** Whether the anchor of a node can stay where it takes another value. */
export function keepsProperties(node: Node, value: unknown): boolean {
  return isScalar(node) && isWritten(node) && node.tag === undefined && !hasItems(value);
}
