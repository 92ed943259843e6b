import { Malformed } from "../runtime/environment.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { parsePort } from "../runtime/variables.ts";
import type { Endpoint } from "./endpoint.ts";

/** What both kinds of mesh rules have in common (docs/design.md §3): entries joined by `##`, fields joined by `#`. */
export interface Grammar<Rule> {
  /** The form of an entry, as it is shown to whoever got it wrong. */
  readonly form: string;
  readonly fields: { readonly min: number; readonly max: number };
  /** Reads the fields of an entry; what is wrong with them is left with the entry. */
  readonly read: (entry: Entry) => Rule | undefined;
}

export const PORT = "a port: 1 to 65535, without sign, space or leading zero";

/**
 * The rules of a text; an empty text has none.
 *
 * @throws Malformed with everything that is wrong, each fault naming its entry
 */
export function parseEntries<Rule>(text: string, grammar: Grammar<Rule>): Rule[] {
  if (text === "") return [];
  const faults: Fault[] = [];
  const seen = new Map<string, number>();
  const rules = text.split("##").map((part, index) => {
    const entry = new Entry(part, index + 1, faults, seen);
    const { min, max } = grammar.fields;
    if (part === "") {
      entry.fault("an empty entry", `${grammar.form}, entries joined by ## and none after the last`);
    } else if (entry.length < min || entry.length > max) {
      entry.fault(`${entry.length} ${entry.length === 1 ? "field" : "fields"}`, grammar.form);
    } else {
      return grammar.read(entry);
    }
    return undefined;
  });
  if (faults.length > 0) throw new Malformed(faults);
  return rules.filter((rule) => rule !== undefined);
}

export class Entry {
  readonly #fields: readonly string[];
  readonly #number: number;
  readonly #where: string;
  readonly #faults: Fault[];
  readonly #seen: Map<string, number>;

  constructor(text: string, number: number, faults: Fault[], seen: Map<string, number>) {
    this.#fields = text.split("#");
    this.#number = number;
    this.#where = `entry ${number} ${quote(text)}`;
    this.#faults = faults;
    this.#seen = seen;
  }

  get length(): number {
    return this.#fields.length;
  }

  fault(got: string, want: string): void {
    this.#faults.push({ where: this.#where, got, want });
  }

  /** The field as `parse` reads it; where that gives undefined, a fault. */
  field<T>(index: number, parse: (text: string) => T | undefined, want: string): T | undefined {
    return this.#read(this.#fields[index] ?? "", parse, want);
  }

  name(index: number): string | undefined {
    return this.field(index, (text) => (text.trim() === "" ? undefined : text), "a name that is not empty");
  }

  port(index: number): number | undefined {
    return this.field(index, parsePort, PORT);
  }

  /** A field of the form `<host>:<port>`. */
  endpoint(index: number, parse: (text: string) => string | undefined, want: string): Endpoint | undefined {
    const text = this.#fields[index] ?? "";
    const colon = text.lastIndexOf(":");
    if (colon < 0) {
      this.fault(quote(text), `${want}, then a colon and a port`);
      return undefined;
    }
    const host = this.#read(text.slice(0, colon), parse, want);
    const port = this.#read(text.slice(colon + 1), parsePort, PORT);
    return host === undefined || port === undefined ? undefined : { host, port };
  }

  /** Two entries must not claim the same thing. */
  claim(what: string): void {
    const first = this.#seen.get(what);
    if (first === undefined) this.#seen.set(what, this.#number);
    else this.fault(`${what} again`, `${what} once; entry ${first} has it`);
  }

  #read<T>(text: string, parse: (text: string) => T | undefined, want: string): T | undefined {
    const value = parse(text);
    if (value === undefined) this.fault(quote(text), want);
    return value;
  }
}
