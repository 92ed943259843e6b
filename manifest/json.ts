import { type Fault, quote } from "../runtime/fault.ts";
import { ManifestError } from "./error.ts";
import { decodeText, placeAt } from "./text.ts";

/**
 * Reads JSON (RFC 8259) as strictly as its grammar and refuses what readers disagree about: a key that stands twice, a
 * byte order mark, bytes that are not UTF-8. `JSON.parse` takes the last of two equal keys without a word and names no
 * place in half of its errors, so only the literals are left to it.
 */

const DEEPEST = 64;
const SPACE = /[ \t\n\r]*/y;
// One character per step: a repetition inside a repetition takes exponential time where no quote closes the string.
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y; // oxlint-disable-line no-control-regex
const LITERAL = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null/y;

export interface Json {
  readonly value: unknown;
  /** The keys that stand twice in one object, by path and place; `value` holds the last of them. */
  readonly duplicates: readonly Fault[];
}

export type JsonPath = readonly PropertyKey[];

/** @throws ManifestError malformed_json, duplicate_key */
export function parseJson(bytes: Uint8Array): unknown {
  const { value, duplicates } = readJson(bytes);
  if (duplicates.length > 0) throw new ManifestError("duplicate_key", "a key stands twice", duplicates);
  return value;
}

/**
 * For callers that report duplicates together with other faults; they must refuse them.
 *
 * @throws ManifestError malformed_json
 */
export function readJson(bytes: Uint8Array): Json {
  const reader = new Reader(decodeText(bytes, "malformed_json"));
  return { value: reader.document(), duplicates: reader.duplicates };
}

/** `$.Policies["ab…"].SANs[0]` */
export function pathText(path: JsonPath): string {
  const steps = path.map((step) => {
    if (typeof step === "number") return `[${step}]`;
    return /^[A-Za-z_]\w{0,39}$/.test(String(step)) ? `.${String(step)}` : `[${quote(String(step))}]`;
  });
  return `$${steps.join("")}`;
}

class Reader {
  readonly duplicates: Fault[] = [];
  readonly #text: string;
  readonly #path: PropertyKey[] = [];
  #at = 0;
  #line: { readonly number: number; readonly start: number; readonly end: number };

  constructor(text: string) {
    this.#text = text;
    this.#line = { number: 1, start: 0, end: endOfLine(text, 0) };
  }

  document(): unknown {
    const value = this.#value();
    if (this.#next() !== undefined) throw this.#unexpected("the end");
    return value;
  }

  #value(): unknown {
    const first = this.#next();
    // The stack of this program is finite: a file of brackets must not end it.
    if (this.#path.length > DEEPEST) throw this.#unexpected(`at most ${DEEPEST} levels`);
    if (first === "{") return this.#object();
    if (first === "[") return this.#array();
    return JSON.parse(this.#match(first === '"' ? STRING : LITERAL, "a JSON value"));
  }

  #object(): Record<string, unknown> {
    const entries = new Map<string, unknown>();
    this.#list("}", () => {
      if (this.#next() !== '"') throw this.#unexpected("a key in double quotes");
      const start = this.#at;
      const key = JSON.parse(this.#match(STRING, "a key")) as string;
      if (this.#next() !== ":") throw this.#unexpected('":"');
      this.#at++;
      this.#path.push(key);
      if (entries.has(key)) {
        const where = `${pathText(this.#path)} at ${this.#place(start)}`;
        this.duplicates.push({ where, got: "a key that stands twice", want: "every key once" });
      }
      entries.set(key, this.#value());
      this.#path.pop();
    });
    // Unlike assignment this makes `__proto__` a key like any other.
    return Object.fromEntries(entries);
  }

  #array(): unknown[] {
    const items: unknown[] = [];
    this.#list("]", () => {
      this.#path.push(items.length);
      items.push(this.#value());
      this.#path.pop();
    });
    return items;
  }

  /** What stands between an opening bracket and `close`, separated by commas. */
  #list(close: string, item: () => void): void {
    this.#at++;
    if (this.#next() === close) {
      this.#at++;
      return;
    }
    for (;;) {
      item();
      const separator = this.#next();
      if (separator !== "," && separator !== close) throw this.#unexpected(`"," or "${close}"`);
      this.#at++;
      if (separator === close) return;
    }
  }

  /** As `placeAt`, for offsets that never get smaller: from scratch each, a file full of them would take minutes. */
  #place(offset: number): string {
    while (this.#line.end < offset) {
      const start = this.#line.end + 1;
      this.#line = { number: this.#line.number + 1, start, end: endOfLine(this.#text, start) };
    }
    return `${this.#line.number}:${offset - this.#line.start + 1}`;
  }

  #next(): string | undefined {
    SPACE.lastIndex = this.#at;
    SPACE.test(this.#text);
    this.#at = SPACE.lastIndex;
    return this.#text[this.#at];
  }

  #match(token: RegExp, want: string): string {
    token.lastIndex = this.#at;
    const [text] = token.exec(this.#text) ?? [];
    if (text === undefined) throw this.#unexpected(want);
    this.#at += text.length;
    return text;
  }

  #unexpected(want: string): ManifestError {
    const rest = this.#text.slice(this.#at, this.#at + 20);
    const where = placeAt(this.#text, this.#at);
    const got = rest === "" ? "the end" : quote(rest);
    return new ManifestError("malformed_json", "the file is not JSON", [{ where, got, want }]);
  }
}

function endOfLine(text: string, start: number): number {
  const end = text.indexOf("\n", start);
  return end < 0 ? text.length : end;
}
