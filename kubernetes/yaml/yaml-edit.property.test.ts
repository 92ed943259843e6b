import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseResourceFile } from "../resource-file.ts";
import { rewriteResourceFile } from "../rewrite-resource.ts";

/**
 * Documents in many styles and with a comment at every place, and changes to them. Whatever is changed: the new text
 * says what is wanted, every line and comment outside of what was changed is still there, and a second run changes
 * nothing.
 */

type Path = readonly (string | number)[];
type Data = unknown;

interface Line {
  readonly text: string;
  /** Of the value that the line belongs to; a comment before a value belongs to what is around it. */
  readonly path: Path;
}

/** Takes choices from a list; behind its end the first alternative is the choice. */
class Choices {
  readonly #numbers: readonly number[];
  #next = 0;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  below(count: number): number {
    return (this.#numbers[this.#next++] ?? 0) % count;
  }

  one<T>(...values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

const WORDS = ["web", "nginx:1.25", "yes", "0644", "a b", "x#y", "", "{{ v }}", "a: b", "1", "it's", 'say "x"', "é😀"];
const KEYS = ["name", "image", "env", "args", "labels", "app.io/part", "on", "x y", "data"];

/** Writes a document, and remembers what it says and which line belongs to what. */
class Document {
  readonly lines: Line[] = [];
  readonly data: Record<string, Data>;
  readonly #choices: Choices;
  readonly #step: number;
  readonly #isListIndented: boolean;
  readonly #anchors: { readonly name: string; readonly path: Path; readonly data: Data }[] = [];
  /** Lines that say in one place what another place says. */
  readonly copies: { readonly of: Path; readonly line: Path; readonly at: Path }[] = [];
  /** Places that change as a whole: what stands on one line, and lists with items that can't be told apart. */
  readonly wholes: Path[] = [];
  #comments = 0;
  #names = 0;

  constructor(choices: Choices) {
    this.#choices = choices;
    this.#step = choices.one(2, 4);
    this.#isListIndented = choices.one(true, false);
    if (choices.below(2) === 1) this.#line("# head", []);
    this.#line("kind: Pod", ["kind"]);
    this.data = { kind: "Pod", ...this.#map(0, [], "") };
  }

  #map(column: number, path: Path, first: string): Record<string, Data> {
    const own = new Set<string>();
    const data: Record<string, Data> = {};
    let prefix = first;
    const base = this.#choices.one(undefined, undefined, ...this.#anchors.filter((anchor) => isMap(anchor.data)));
    if (base !== undefined) {
      this.#line(`${prefix || " ".repeat(column)}<<: *${base.name}`, [...path, "<<"]);
      // Behind a dash a merge does not go without its item.
      this.copies.push({ of: base.path, line: prefix === "" ? [...path, "<<"] : path, at: path });
      Object.assign(data, structuredClone(base.data));
      prefix = "";
    }
    for (let count = 1 + this.#choices.below(3); count > 0; count--) {
      const key = this.#choices.one(...KEYS);
      if (own.has(key)) continue;
      own.add(key);
      if (prefix === "") this.#gap(column, path);
      const start = (prefix || " ".repeat(column)) + (["on", "x y"].includes(key) ? JSON.stringify(key) : key);
      data[key] = this.#value(`${start}:`, column, [...path, key], false);
      prefix = "";
    }
    return data;
  }

  /** @param start what stands before the value on its line */
  #value(start: string, column: number, path: Path, isItem: boolean): Data {
    const anchor = this.#choices.one(...this.#anchors, undefined, undefined);
    if (anchor !== undefined && this.#choices.below(3) === 1) {
      this.#line(`${start} *${anchor.name}`, path);
      this.copies.push({ of: anchor.path, line: path, at: path });
      return structuredClone(anchor.data);
    }
    const isAnchored = this.#choices.below(4) === 1;
    const name = `a${this.#names++}`;
    const data = this.#written(isAnchored ? `${start} &${name}` : start, column, path, isItem && !isAnchored);
    if (isAnchored) this.#anchors.push({ name, path, data });
    return data;
  }

  #written(start: string, column: number, path: Path, isCompact: boolean): Data {
    const kind = path.length > 5 ? "word" : this.#choices.one("word", "map", "list", "flow", "block", "json", "lines");
    if (kind === "word") return this.#word(start, path);
    if (kind === "lines") return this.#quotedLines(start, path);
    if (kind === "block") return this.#block(start, column, path);
    if (kind === "flow" || kind === "json") return this.#flow(start, path, kind === "json");
    if (kind === "map") {
      if (isCompact) return this.#map(column + 2, path, `${start} `);
      this.#line(start, path);
      return this.#map(column + this.#step, path, "");
    }
    const isRoot = path.length === 0;
    const inner = this.#isListIndented || isRoot || isItemPath(path) ? column + this.#step : column;
    this.#line(start, path);
    const items: Data[] = [];
    for (let count = 1 + this.#choices.below(3); count > 0; count--) {
      this.#gap(inner, path);
      items.push(this.#value(`${" ".repeat(inner)}-`, inner, [...path, items.length], true));
    }
    const names = items.map((item) => JSON.stringify(isMap(item) ? (item["name"] ?? item) : item));
    if (new Set(names).size < items.length) this.wholes.push(path);
    return items;
  }

  #word(start: string, path: Path): Data {
    const word = this.#choices.one(...WORDS);
    const text = this.#choices.one(JSON.stringify(word), `'${word.replaceAll("'", "''")}'`);
    this.#line(`${start} ${text}`, path);
    return word;
  }

  #block(start: string, column: number, path: Path): Data {
    const mark = this.#choices.one("|", "|-", ">");
    this.wholes.push(path);
    this.#line(`${start} ${mark}`, path);
    for (const line of ["one", "", "  # no comment", "two: {"]) {
      this.#line(line === "" ? "" : " ".repeat(column + this.#step) + line, path);
    }
    const text = mark === ">" ? "one\n\n  # no comment\ntwo: {" : "one\n\n  # no comment\ntwo: {";
    return mark === "|-" ? text : `${text}\n`;
  }

  /** As kubectl reads it: its lines need no indentation. */
  #quotedLines(start: string, path: Path): Data {
    const quote = this.#choices.one('"', "'");
    this.wholes.push(path);
    const lines = [`${start} ${quote}one`, "two: {", "", "   # no comment", `- three${quote}`];
    this.lines.push(...lines.map((text) => ({ text, path })));
    return "one two: {\n# no comment - three";
  }

  #flow(start: string, path: Path, isJson: boolean): Data {
    this.wholes.push(path);
    const word = this.#choices.one(...WORDS);
    const data = this.#choices.one<Data>({ a: word, b: [1, word] }, [word, { c: null }], {}, []);
    const text = isJson ? JSON.stringify(data) : JSON.stringify(data, null, 1).replaceAll(/\n */g, " ");
    this.#line(`${start} ${text}`, path);
    return data;
  }

  #gap(column: number, path: Path): void {
    const kind = this.#choices.below(4);
    if (kind === 1) this.#line("", path);
    if (kind === 2) this.lines.push({ text: `${" ".repeat(column)}# comment ${this.#comments++}`, path });
  }

  #line(text: string, path: Path): void {
    const hasTail = this.#choices.below(4) === 1 && !/^\s*$|[|>]-?$|^ *(?:one|#|two)|^ *# /.test(text);
    this.lines.push({ text: hasTail ? `${text}  # comment ${this.#comments++}` : text, path });
  }
}

function isMap(data: Data): data is Record<string, Data> {
  return typeof data === "object" && data !== null && !Array.isArray(data);
}

function isInList(path: Path): boolean {
  return path.some((step) => typeof step === "number");
}

function isItemPath(path: Path): boolean {
  return typeof path.at(-1) === "number";
}

/** Changes the data somewhere. @returns the path of what the change may take with it */
function change(data: Record<string, Data>, choices: Choices): Path {
  const path: (string | number)[] = [];
  let parent: Data = data;
  for (;;) {
    const keys = Array.isArray(parent)
      ? [...parent.keys()]
      : Object.keys(parent as object).filter((key) => key !== "kind");
    const key = choices.one(...keys);
    const inner = (parent as Record<string | number, Data>)[key];
    if (typeof inner !== "object" || inner === null || Object.keys(inner).length === 0 || choices.below(4) === 0) {
      return apply(parent as Data[] | Record<string, Data>, key, path, choices);
    }
    path.push(key);
    parent = inner;
  }
}

function apply(
  parent: Data[] | Record<string, Data>,
  key: string | number,
  path: readonly (string | number)[],
  choices: Choices,
): Path {
  const value = choices.one<() => Data>(
    () => choices.one(...WORDS),
    () => ({ new: choices.one(...WORDS), list: [choices.one(...WORDS)] }),
    () => [{ name: "new" }, "x"],
    () => ({}),
  )();
  if (Array.isArray(parent)) {
    const at = Number(key);
    const kind = choices.one("set", "insert", "append", "remove");
    if (kind === "append") parent.push(value);
    else parent.splice(at, kind === "insert" ? 0 : 1, ...(kind === "remove" ? [] : [value]));
    return kind === "append" ? [...path, parent.length] : path;
  }
  const kind = choices.one("set", "add", "remove");
  if (kind === "add") parent["added"] = value;
  else if (kind === "set") parent[key] = value;
  else delete parent[key];
  // An item with another name is another item.
  if (key === "name" && kind !== "add" && isItemPath(path)) return path.slice(0, -1);
  const isWhole = Object.keys(parent).length === 0 || kind === "remove";
  return isWhole && path.length > 0 ? path : [...path, kind === "add" ? "added" : key];
}

function isUnder(path: Path, root: Path): boolean {
  return root.every((step, index) => path[index] === step);
}

/** The lines that no change can have touched. */
function untouched(document: Document, changed: readonly Path[]): string[] {
  // Where two changes meet in a list, which items are the same ones is for the alignment to say.
  const lists = changed.filter(isInList).map((path) =>
    path.slice(
      0,
      path.findIndex((step) => typeof step === "number"),
    ),
  );
  const touched = [...changed, ...lists.filter((list) => changed.filter((path) => isUnder(path, list)).length > 1)];
  // A change inside brackets is one of the brackets; one of an anchor is one of all that say the same.
  for (let count = -1; count !== touched.length;) {
    count = touched.length;
    const meets = (path: Path): boolean => touched.some((other) => isUnder(path, other) || isUnder(other, path));
    for (const { of, line, at } of document.copies) {
      if (touched.includes(line)) continue;
      if (meets(of) || touched.some((other) => isUnder(other, at))) touched.push(line);
    }
    for (const path of document.wholes) {
      if (touched.some((other) => isUnder(other, path)) && !touched.includes(path)) touched.push(path);
    }
  }
  return document.lines.filter(({ path }) => !touched.some((root) => isUnder(path, root))).map(({ text }) => text);
}

function expectLines(text: string, lines: readonly string[]): void {
  const after = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  let at = -1;
  for (const line of lines) {
    at = after.indexOf(line, at + 1);
    expect(at, `${JSON.stringify(line)} in\n${text}`).toBeGreaterThanOrEqual(0);
  }
}

const numbers = fc.array(fc.nat({ max: 1000 }), { minLength: 20, maxLength: 150 });

test("keeps everything but what is changed", () => {
  const form = fc.record({
    eol: fc.constantFrom("\n", "\r\n"),
    mark: fc.constantFrom("", "\uFEFF"),
    end: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(numbers, { minLength: 1, maxLength: 3 }),
      numbers,
      form,
      (seeds, picks, { eol, mark, end }) => {
        const documents = seeds.map((seed) => new Document(new Choices(seed)));
        const parts = documents.map(({ lines }) => lines.map(({ text }) => text + eol).join(""));
        const whole = mark + parts.join(`---${eol}`);
        const text = end ? whole : whole.replace(/\r?\n$/, "");
        const file = parseResourceFile("x.yml", text);
        const values = documents.map(({ data }) => data);
        expect(file.values).toEqual(values);
        expect(rewriteResourceFile(file, values)).toBe(text);

        const changed = documents.map(({ data }, index) => {
          const pick = new Choices(picks.slice(index));
          return Array.from({ length: 1 + pick.below(3) }, () => change(data, pick));
        });
        const after = rewriteResourceFile(file, values);
        const again = parseResourceFile("x.yml", after);
        expect(again.values).toEqual(values);
        expect(rewriteResourceFile(again, values)).toBe(after);
        expectLines(
          after,
          documents.flatMap((document, index) => untouched(document, changed[index] ?? [])),
        );
        if (eol === "\r\n") expect(after).not.toMatch(/[^\r]\n/);
      },
    ),
    { numRuns: 400 },
  );
});
