import type { Node, YAMLMap, YAMLSeq } from "yaml";
import { keepsProperties } from "./block-writer.ts";
import type { TextEdits } from "./text-edits.ts";
import { type Collection, endOf, entriesOf, type Entry, entryStart, startWithProperties } from "./yaml-places.ts";
import { flowText, type Style } from "./yaml-style.ts";
import { startOf, type YamlPair } from "./yaml-value.ts";

/** Changes flow collections, those in brackets; JSON has no others and stays JSON. */
export class FlowWriter {
  readonly #edits: TextEdits;
  readonly #style: Style;

  constructor(edits: TextEdits, style: Style) {
    this.#edits = edits;
    this.#style = style;
  }

  canRemove(collection: Collection, gone: ReadonlySet<Entry>): boolean {
    return gone.size < collection.items.length;
  }

  canInsertFirst(): boolean {
    return true;
  }

  remove(collection: Collection, gone: ReadonlySet<Entry>): void {
    const entries = entriesOf(collection);
    const stays = entries.findIndex((entry) => !gone.has(entry));
    if (stays > 0) this.#edits.replace(this.#start(entries[0]), this.#start(entries[stays]), "");
    for (const [index, entry] of entries.entries()) {
      if (index > stays && gone.has(entry)) this.#edits.replace(endOf(entries[index - 1]), endOf(entry), "");
    }
  }

  setValue(map: YAMLMap, pair: YamlPair, value: unknown): void {
    const { value: node } = pair;
    // In `{a}` there is not even a colon.
    if (node === null) this.#edits.replace(endOf(pair.key), endOf(pair.key), `: ${this.#text(map, value)}`);
    else this.#set(map, node, value);
  }

  setItem(seq: YAMLSeq, item: Node, value: unknown): void {
    this.#set(seq, item, value);
  }

  setMerge(map: YAMLMap, pair: YamlPair, values: Readonly<Record<string, unknown>>): void {
    this.#edits.replace(startOf(pair.key), endOf(pair), this.#text(map, values).slice(1, -1));
  }

  append(map: YAMLMap, key: string, value: unknown): void {
    const end = endOf(entriesOf(map).at(-1));
    this.#edits.replace(end, end, this.#separator(map) + this.#pair(map, key, value));
  }

  insertItem(seq: YAMLSeq, previous: Node | undefined, value: unknown): void {
    const text = this.#text(seq, value);
    if (previous === undefined) {
      const start = this.#start(entriesOf(seq)[0]);
      this.#edits.replace(start, start, text + this.#separator(seq));
    } else {
      this.#edits.replace(endOf(previous), endOf(previous), this.#separator(seq) + text);
    }
  }

  #set(collection: Collection, node: Node, value: unknown): void {
    const { text } = this.#edits;
    const start = keepsProperties(node, value) ? startOf(node) : startWithProperties(text, node);
    const space = text[start - 1] === ":" && !this.#style.compact ? " " : "";
    this.#edits.replace(start, endOf(node), space + this.#text(collection, value, node));
  }

  #pair(map: YAMLMap, key: string, value: unknown): string {
    const name = this.#style.json ? JSON.stringify(key) : flowText(key, this.#style);
    return `${name}:${this.#style.compact ? "" : " "}${this.#text(map, value)}`;
  }

  /** A value inside the collection: on lines of its own where the entries of the collection are. */
  #text(collection: Collection, value: unknown, like: Node | null = null): string {
    const lines = this.#lines(collection);
    if (!this.#style.json || lines === undefined) return flowText(value, this.#style, like);
    return JSON.stringify(value, null, lines.unit).replaceAll("\n", lines.eol + lines.indentation);
  }

  #separator(collection: Collection): string {
    const lines = this.#lines(collection);
    if (lines !== undefined) return `,${lines.eol}${lines.indentation}`;
    return this.#style.compact ? "," : ", ";
  }

  /** How the lines of a collection's entries begin; undefined: they stand on one line. */
  #lines(
    collection: Collection,
  ): { readonly indentation: string; readonly unit: string; readonly eol: string } | undefined {
    const open = startOf(collection);
    const first = entryStart(entriesOf(collection)[0]);
    if (!this.#edits.text.slice(open, first).includes("\n")) return undefined;
    const indentation = this.#edits.indentation(first);
    const outer = this.#edits.indentation(open);
    return { indentation, unit: indentation.slice(outer.length) || "  ", eol: this.#edits.eol(first) };
  }

  #start(entry: Entry | undefined): number {
    if (entry === undefined || "key" in entry) return entryStart(entry);
    return startWithProperties(this.#edits.text, entry);
  }
}
