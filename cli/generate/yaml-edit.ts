import { isDeepStrictEqual } from "node:util";
import {
  type Document,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  stringify,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";
import { align, isRecord } from "./align.ts";

/**
 * Changes YAML text so that its documents say something else, and touches nothing but what has to change: comments,
 * order, quoting, line ends and numbers such as 0644, which another version of YAML reads in another way, stay as they
 * are. The caller compares what the new text says with what it wanted: not every YAML can be changed in place.
 */

type EntryPair = Pair<Node, Node | null>;

/** Replaces `text[start, end)`. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * @param documents of the text, with their places in it
 * @param wanted what each of them is to say, as plain data
 */
export function editYaml(text: string, documents: readonly Document.Parsed[], wanted: readonly unknown[]): string {
  const editor = new Editor(text);
  for (const [index, document] of documents.entries()) editor.document(document, wanted[index]);
  return editor.apply();
}

class Editor {
  readonly #text: string;
  readonly #edits: Edit[] = [];
  readonly #eol: string;
  readonly #style: { readonly indent: number; readonly indentSeq: boolean };
  #document: Document.Parsed | undefined;

  constructor(text: string) {
    this.#text = text;
    this.#eol = /\r?\n/.exec(text)?.[0] ?? "\n";
    this.#style = {
      indent: /^( {1,8})[^ #-]/m.exec(text)?.[1]?.length ?? 2,
      // A list may stand in the column of its key; most of Kubernetes' own files do it.
      indentSeq: !/^( *)[^\s#-].*:[ \t]*\r?\n\1- /m.test(text),
    };
  }

  document(document: Document.Parsed, wanted: unknown): void {
    this.#document = document;
    const { contents } = document;
    if (contents === null || this.#node(contents, wanted, contents.range[0])) return;
    const end = contents.range[1];
    this.#replace(contents.range[0], end, JSON.stringify(wanted) + this.#tail(end));
  }

  /** The edits in the order of their places; those at one place in the order in which they were made. */
  apply(): string {
    let result = "";
    let at = 0;
    for (const { start, end, text } of this.#edits.toSorted((a, b) => a.start - b.start)) {
      result += this.#text.slice(at, start) + text;
      at = Math.max(at, end);
    }
    return result + this.#text.slice(at);
  }

  /** @returns false where the node can't take the value by changes inside it */
  #node(node: Node, wanted: unknown, front: number): boolean {
    if (isDeepStrictEqual(this.#value(node), wanted)) return true;
    if (isMap(node) && isRecord(wanted)) return this.#map(node, wanted);
    if (isSeq(node) && Array.isArray(wanted)) return this.#seq(node, wanted, front);
    return false;
  }

  #map(map: YAMLMap, wanted: Readonly<Record<string, unknown>>): boolean {
    const pairs = map.items as EntryPair[];
    const before = this.#value(map) as Readonly<Record<string, unknown>>;
    const isGone = (key: string): boolean => Object.hasOwn(before, key) && !Object.hasOwn(wanted, key);
    if (pairs.length === 0 || Object.keys(wanted).length === 0) return false;
    // The first key may stand behind the dash of an item, and a line with a dash can't be taken out.
    const stays =
      map.flow === true ? !Object.keys(before).some(isGone) : this.#isFirst(map) || !isGone(keyOf(pairs[0]));
    if (!stays) return false;
    for (const pair of pairs) {
      const key = keyOf(pair);
      if (Object.hasOwn(wanted, key)) this.#pair(pair, wanted[key], map.flow === true);
      else if (isGone(key)) {
        this.#replace(this.#lineStart(startOf(pair.key)), this.#afterLine(this.#endOf(pair)), "");
      }
    }
    const known = new Set(pairs.map(keyOf));
    const column = this.#column(startOf(pairs[0]?.key));
    for (const [key, value] of Object.entries(wanted)) {
      // A key that comes from elsewhere by a merge is written here only where it is to differ.
      if (known.has(key) || (Object.hasOwn(before, key) && isDeepStrictEqual(before[key], value))) continue;
      const end = this.#endOf(pairs.at(-1));
      if (map.flow === true) this.#replace(end, end, `, ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
      else this.#insertLines(this.#afterLine(end), column, this.#block({ [key]: value }));
    }
    return true;
  }

  #pair(pair: EntryPair, wanted: unknown, flow: boolean): void {
    const { value: node } = pair;
    const colon = this.#text.indexOf(":", endOfNode(pair.key)) + 1;
    if (node !== null && this.#node(node, wanted, this.#afterLine(colon))) return;
    const isThere = node !== null && endOfNode(node) > startOf(node);
    const end = isThere ? this.#endOf(node) : colon;
    const tail = this.#tail(end);
    if (flow || !isCollectionWithItems(wanted)) {
      const inline = flow ? JSON.stringify(wanted) : this.#inline(node, wanted);
      if (isThere && isScalar(node)) this.#replace(startOf(node), end, inline + tail);
      else this.#replace(colon, end, ` ${inline}${tail}`);
      return;
    }
    this.#replace(colon, end, tail);
    const lines = this.#block({ [keyOf(pair)]: wanted }).slice(1);
    this.#insertLines(this.#afterLine(end), this.#column(startOf(pair.key)), lines);
  }

  #seq(seq: YAMLSeq, wanted: readonly unknown[], front: number): boolean {
    const items = seq.items as Node[];
    if (items.length === 0 || wanted.length === 0 || (seq.flow !== true && !this.#isFirst(seq))) return false;
    const steps = align(
      items.map((item) => this.#value(item)),
      wanted,
    );
    if (seq.flow === true && steps.some((step) => step.wanted === undefined)) return false;
    let previous: Node | undefined;
    for (const { at, wanted: value } of steps) {
      const item = at === undefined ? undefined : items[at];
      if (item === undefined) this.#insertItem(seq, previous, value, front);
      else if (value === undefined) this.#removeItem(seq, item);
      else if (!this.#node(item, value.item, startOf(item))) this.#replaceItem(seq, item, value.item);
      previous = item ?? previous;
    }
    return true;
  }

  #insertItem(
    seq: YAMLSeq,
    previous: Node | undefined,
    value: { readonly item: unknown } | undefined,
    front: number,
  ): void {
    if (seq.flow === true) {
      const json = JSON.stringify(value?.item);
      if (previous === undefined) this.#replace(startOf(seq) + 1, startOf(seq) + 1, `${json}, `);
      else this.#replace(this.#endOf(previous), this.#endOf(previous), `, ${json}`);
      return;
    }
    // Before the first item there may be a comment, and it belongs to that item.
    const position = previous === undefined ? front : this.#afterLine(this.#endOf(previous));
    this.#insertLines(position, this.#column(startOf(seq)), this.#block([value?.item]));
  }

  #removeItem(seq: YAMLSeq, item: Node): void {
    if (seq.flow !== true) this.#replace(this.#lineStart(startOf(item)), this.#afterLine(this.#endOf(item)), "");
  }

  #replaceItem(seq: YAMLSeq, item: Node, value: unknown): void {
    if (seq.flow === true || !isCollectionWithItems(value)) {
      const inline = seq.flow === true ? JSON.stringify(value) : this.#inline(item, value);
      this.#replace(startOf(item), this.#endOf(item), inline + this.#tail(this.#endOf(item)));
      return;
    }
    this.#removeItem(seq, item);
    this.#insertLines(this.#afterLine(this.#endOf(item)), this.#column(startOf(seq)), this.#block([value]));
  }

  /** Whether nothing stands before the node on its line. */
  #isFirst(node: Node): boolean {
    return this.#text.slice(this.#lineStart(startOf(node)), startOf(node)).trim() === "";
  }

  #insertLines(position: number, column: number, lines: readonly string[]): void {
    const atLineStart = position === 0 || this.#text[position - 1] === "\n";
    const text = lines.map((line) => " ".repeat(column) + line).join(this.#eol);
    this.#replace(position, position, atLineStart ? text + this.#eol : this.#eol + text);
  }

  #replace(start: number, end: number, text: string): void {
    this.#edits.push({ start, end, text });
  }

  /** The lines of a value in block style. */
  #block(value: unknown): string[] {
    return this.#stringify(value).trimEnd().split("\n");
  }

  /** A value on one line, in the quotes that the node has. */
  #inline(node: Node | null, value: unknown): string {
    const quotes =
      isScalar(node) && node.type?.startsWith("QUOTE_") === true ? (node.type as "QUOTE_DOUBLE") : undefined;
    const isLine = !isCollectionWithItems(value) && !(typeof value === "string" && value.includes("\n"));
    return isLine ? this.#stringify(value, quotes).trimEnd() : JSON.stringify(value);
  }

  #stringify(value: unknown, quotes?: "QUOTE_DOUBLE" | "QUOTE_SINGLE"): string {
    // Kubernetes reads YAML 1.1, where `yes` is true: such strings get quotes.
    const options = { lineWidth: 0, blockQuote: false, compat: "yaml-1.1", ...this.#style } as const;
    return stringify(value, quotes === undefined ? options : { ...options, defaultStringType: quotes });
  }

  #value(node: Node): unknown {
    return this.#document === undefined ? undefined : node.toJS(this.#document);
  }

  /** Where the last character of a node is, without the comments and line ends behind it. */
  #endOf(node: Node | EntryPair | null | undefined): number {
    if (node === null || node === undefined) return 0;
    if ("key" in node) {
      return node.value === null || node.value === undefined ? endOfNode(node.key) : this.#endOf(node.value);
    }
    if (isCollection(node) && node.flow !== true && node.items.length > 0) {
      return this.#endOf(node.items.at(-1) as Node | EntryPair);
    }
    return endOfNode(node);
  }

  /** The end of a block scalar, or of a block collection, is the start of the next line. */
  #tail(end: number): string {
    return this.#text[end - 1] === "\n" ? this.#eol : "";
  }

  #afterLine(position: number): number {
    if (this.#text[position - 1] === "\n") return position;
    const end = this.#text.indexOf("\n", position);
    return end < 0 ? this.#text.length : end + 1;
  }

  #lineStart(position: number): number {
    return this.#text.lastIndexOf("\n", position - 1) + 1;
  }

  #column(position: number): number {
    return position - this.#lineStart(position);
  }
}

function isCollectionWithItems(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}

function keyOf(pair: EntryPair | undefined): string {
  return isScalar(pair?.key) ? String(pair.key.value) : "";
}

function startOf(node: Node | undefined): number {
  return node?.range?.[0] ?? 0;
}

function endOfNode(node: Node): number {
  return node.range?.[1] ?? 0;
}
