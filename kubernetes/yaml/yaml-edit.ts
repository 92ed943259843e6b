import { isDeepStrictEqual } from "node:util";
import { type Alias, type Document, isMap, isSeq, type Node, visit, type YAMLMap, type YAMLSeq } from "yaml";
import { align, isRecord } from "./align.ts";
import { BlockWriter, keepsProperties } from "./block-writer.ts";
import { FlowWriter } from "./flow-writer.ts";
import { composeDocuments } from "./kubernetes-yaml.ts";
import { YamlFault } from "./yaml-fault.ts";
import { TextEdits } from "./text-edits.ts";
import { type Entry, hasItems } from "./yaml-places.ts";
import { styleOf } from "./yaml-style.ts";
import { isMerge, keyOf, resolveAliases, ValueReader, type YamlPair } from "./yaml-value.ts";

/**
 * Changes the text of a document so that it says something else, and touches nothing but what has to change: comments,
 * order, quoting, line ends and numbers such as 0644 stay as they are. The caller compares what the new text says with
 * what it wanted: not every YAML can be changed in place.
 *
 * @param wanted plain data
 */
export function editDocument(text: string, wanted: unknown): string {
  const [document] = composeDocuments(text);
  if (document === undefined) return text;
  const edits = new TextEdits(text);
  new Editor(document, edits).edit(wanted);
  return edits.apply();
}

/** Of a node that the text no longer has: nothing equals it, so each of its aliases is written out. */
const GONE = Symbol("gone");

/**
 * Goes through the document in the order of its text, so that it meets an anchor before its aliases: an alias stays
 * where its anchor now says what is wanted there, too, and is written out elsewhere.
 */
class Editor {
  readonly #document: Document.Parsed;
  readonly #block: BlockWriter;
  readonly #flow: FlowWriter;
  /** What nodes with an anchor say now, if not what they said before. */
  readonly #anchored = new Map<Node, unknown>();
  readonly #aliases: ReadonlyMap<Alias, Node>;

  constructor(document: Document.Parsed, edits: TextEdits) {
    const style = styleOf(document, edits);
    this.#document = document;
    this.#block = new BlockWriter(edits, style);
    this.#flow = new FlowWriter(edits, style);
    this.#aliases = resolveAliases(document);
  }

  edit(wanted: unknown): void {
    if (this.#document.contents !== null) this.#node(this.#document.contents, wanted);
  }

  /** @returns false where the node can't take the value by changes inside it; then it has not been changed */
  #node(node: Node, wanted: unknown): boolean {
    if (isDeepStrictEqual(this.#value(node), wanted)) return true;
    const isEdited =
      (isMap(node) && isRecord(wanted) && this.#map(node, wanted)) ||
      (isSeq(node) && Array.isArray(wanted) && this.#seq(node, wanted));
    if (isEdited) this.#anchored.set(node, wanted);
    return isEdited;
  }

  #map(map: YAMLMap, wanted: Readonly<Record<string, unknown>>): boolean {
    const writer = map.flow === true ? this.#flow : this.#block;
    const steps = this.#pairSteps(map.items as YamlPair[], wanted);
    const gone = new Set(steps.filter(({ says }) => !hasItems(says)).map(({ pair }) => pair));
    if (gone.size === steps.length || !writer.canRemove(map, gone)) return false;
    for (const { pair, says, isExpanded } of steps) {
      if (gone.has(pair)) this.#lose(pair);
      else if (!isMerge(pair)) this.#pair(map, pair, Object.values(says)[0]);
      else if (isExpanded) {
        this.#lose(pair);
        writer.setMerge(map, pair, says);
      }
    }
    writer.remove(map, gone);
    const said = new Map(steps.flatMap(({ says }) => Object.entries(says)));
    for (const [key, value] of Object.entries(wanted)) {
      if (!said.has(key) || !isDeepStrictEqual(said.get(key), value)) writer.append(map, key, value);
    }
    return true;
  }

  /** A merge stays where all that it brings is wanted; what is to differ is then said behind it. */
  #pairSteps(pairs: readonly YamlPair[], wanted: Readonly<Record<string, unknown>>): PairStep[] {
    const own = new Set(pairs.filter((pair) => !isMerge(pair)).map(keyOf));
    return pairs.map((pair) => {
      if (!isMerge(pair)) return { pair, says: pick(wanted, [keyOf(pair)]), isExpanded: false };
      const merged = this.#read((reader) => reader.merged(pair));
      const brought: object = merged === GONE ? wanted : Object.assign({}, ...(merged as object[]));
      const keys = Object.keys(brought);
      const isExpanded = merged === GONE || keys.some((key) => !Object.hasOwn(wanted, key));
      const missing = keys.filter((key) => !own.has(key));
      return { pair, says: isExpanded ? pick(wanted, missing) : { ...brought }, isExpanded };
    });
  }

  #pair(map: YAMLMap, pair: YamlPair, wanted: unknown): void {
    const { value: node } = pair;
    if (node === null ? wanted === null : this.#node(node, wanted)) return;
    if (node !== null) this.#replaced(node, wanted);
    (map.flow === true ? this.#flow : this.#block).setValue(map, pair, wanted);
  }

  #seq(seq: YAMLSeq, wanted: readonly unknown[]): boolean {
    const writer = seq.flow === true ? this.#flow : this.#block;
    const items = seq.items as Node[];
    const before = items.map((item) => new ValueReader(this.#aliases).value(item));
    const steps = align(before, wanted).map(({ at, wanted: value }) => ({
      item: at === undefined ? undefined : items[at],
      value,
    }));
    const gone = new Set(steps.flatMap(({ item, value }) => (item !== undefined && value === undefined ? [item] : [])));
    if (items.length === 0 || wanted.length === 0 || !writer.canRemove(seq, gone)) return false;
    if (steps[0]?.item === undefined && !writer.canInsertFirst(seq)) return false;
    let previous: Node | undefined;
    for (const { item, value } of steps) {
      if (item === undefined) writer.insertItem(seq, previous, value?.item);
      else if (value === undefined) this.#lose(item);
      else {
        previous = item;
        if (this.#node(item, value.item)) continue;
        this.#replaced(item, value.item);
        writer.setItem(seq, item, value.item);
      }
    }
    writer.remove(seq, gone);
    return true;
  }

  /** What the text says now. */
  #value(node: Node): unknown {
    return this.#read((reader) => reader.value(node));
  }

  /** @returns GONE, too, where something is to be merged that is no map any more */
  #read(read: (reader: ValueReader) => unknown): unknown {
    try {
      return read(new ValueReader(this.#aliases, this.#anchored, { left: Infinity }));
    } catch (error) {
      if (error instanceof YamlFault) return GONE;
      throw error;
    }
  }

  #replaced(node: Node, wanted: unknown): void {
    if (keepsProperties(node, wanted)) this.#anchored.set(node, wanted);
    else this.#lose(node);
  }

  #lose(entry: Entry): void {
    visit(entry as Node, { Value: (_, node) => void this.#anchored.set(node, GONE) });
  }
}

interface PairStep {
  readonly pair: YamlPair;
  /** The keys and values that are to come from it; none: it goes. */
  readonly says: Readonly<Record<string, unknown>>;
  /** Whether these are to be written in its place. */
  readonly isExpanded: boolean;
}

function pick(from: Readonly<Record<string, unknown>>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => Object.hasOwn(from, key)).map((key) => [key, from[key]]));
}
