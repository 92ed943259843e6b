import { Composer, type Document, Parser, type ScalarTag, Schema, type SchemaOptions } from "yaml";
import { kubectlLexer } from "./kubectl-lexer.ts";
import { requireSound, YamlFault } from "./yaml-fault.ts";

/**
 * YAML as kubectl reads it: the YAML 1.1 of go-yaml v2, where `yes` is true, 0644 is 420 and 22:22 is text. What a
 * policy is computed from has to be what the cluster will see.
 */

/** A document may not nest deeper: whoever walks it does so by recursion, and a file must not end the program. */
export const DEEPEST = 256;
/** Of one document; a few times what a cluster takes, and what fits into memory. */
const MOST_TOKENS = 4_000_000;

const SCALARS: readonly ScalarTag[] = [
  scalar("bool", /^(?:y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON)$/, () => true, isBoolean),
  scalar("bool", /^(?:n|N|no|No|NO|false|False|FALSE|off|Off|OFF)$/, () => false, isBoolean),
  scalar(
    "int",
    /^[-+]?(?:0[bB][01][01_]*|0[oO][0-7][0-7_]*|0[xX][\da-fA-F][\da-fA-F_]*|0[0-7_]*|[1-9][\d_]*)$/,
    integer,
    Number.isInteger,
  ),
  scalar("float", /^[-+]?(?:\.\d[\d_]*|\d[\d_]*(?:\.[\d_]*)?)(?:[eE][-+]?\d[\d_]*)?$/, float, isNumber),
  scalar("float", /^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/, special, isNumber),
];

const DIALECT: SchemaOptions = { schema: "failsafe", customTags: ["null", ...SCALARS] };
const SCHEMA = new Schema(DIALECT);
/** For writing: text that some YAML 1.1 takes for something else gets quotes. */
export const CAREFUL_SCHEMA = new Schema({ ...DIALECT, compat: "yaml-1.1" });

/**
 * The documents of a text, one after the other, so that only one of them is in memory as a tree.
 *
 * @throws YamlFault at the first fault
 */
export function* composeDocuments(text: string): Generator<Document.Parsed> {
  const parser = new Parser();
  // Equal keys are found where values are read; here each would be compared with all before it.
  const composer = new Composer({ schema: SCHEMA, uniqueKeys: false });
  const sound = (documents: Iterable<Document.Parsed>): Document.Parsed[] =>
    [...documents].map((document) => requireSound(document, text));
  let tokens = 0;
  for (const lexeme of kubectlLexer().lex(text)) {
    for (const token of parser.next(lexeme)) {
      if (token.type === "document") tokens = 0;
      yield* sound(composer.next(token));
    }
    if (parser.stack.length > DEEPEST)
      throw new YamlFault(parser.offset, "what nests too deep", `at most ${DEEPEST} levels`);
    if (++tokens > MOST_TOKENS) {
      throw new YamlFault(parser.offset, "a document without end", `at most ${MOST_TOKENS} tokens in one; split it`);
    }
  }
  for (const token of parser.end()) yield* sound(composer.next(token));
  yield* sound(composer.end());
  requireSound(composer.streamInfo(), text);
}

function scalar(
  name: string,
  test: RegExp,
  resolve: (text: string) => unknown,
  identify: (value: unknown) => boolean,
): ScalarTag {
  return { tag: `tag:yaml.org,2002:${name}`, default: true, test, resolve, identify };
}

function isBoolean(value: unknown): boolean {
  return typeof value === "boolean";
}

function isNumber(value: unknown): boolean {
  return typeof value === "number";
}

function integer(text: string): number {
  const digits = text.replaceAll("_", "").replace(/^[-+]/, "").toLowerCase();
  const value = /^0\d/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  return text.startsWith("-") ? -value : value;
}

function float(text: string): number {
  return Number(text.replaceAll("_", ""));
}

function special(text: string): number {
  if (/nan/i.test(text)) return Number.NaN;
  return text.startsWith("-") ? -Infinity : Infinity;
}
