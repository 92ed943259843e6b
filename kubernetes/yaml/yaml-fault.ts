import { type Document, isCollection, isDocument, isScalar, type Node, visit, type YAMLParseError } from "yaml";
import { isApostrophe, readEscapes } from "./double-quoted.ts";

/** What is wrong at an offset of the text. */
export class YamlFault extends Error {
  readonly offset: number;
  readonly want: string;

  /** @param got continues "got" */
  constructor(offset: number, got: string, want: string) {
    super(got);
    this.name = "YamlFault";
    this.offset = offset;
    this.want = want;
  }
}

const WANT = "YAML as kubectl reads it";

/** A document, or what is left of a text without one. */
type Composed = Pick<Document.Parsed, "errors">;

/**
 * Checks a document for what go-yaml refuses, and reads what go-yaml alone takes: some escapes between double quotes,
 * and a comment right behind a value.
 *
 * @param text of which the document's offsets are
 * @throws YamlFault where the first fault begins
 */
export function requireSound<T extends Composed>(document: T, text: string): T {
  const errors = document.errors.filter((error) => !isApostrophe(error, text) && !isComment(error));
  if (errors.length > 0) throw faultOf(errors, document, text);
  if (isDocument(document)) readEscapes(document as Document.Parsed, text);
  return document;
}

function isComment({ code, message }: YAMLParseError): boolean {
  return code === "MISSING_CHAR" && message.startsWith("Comments must be separated");
}

function faultOf(errors: readonly YAMLParseError[], document: Composed, text: string): YamlFault {
  const { pos, message = "" } = errors[0] ?? { pos: [0, 0] };
  const [offset] = pos;
  const endsHere = (node: Node): boolean => node.range?.[1] === offset;
  if (message.startsWith("Missing closing")) {
    const quoted = lastNode(document, (node) => isScalar(node) && endsHere(node));
    return new YamlFault(startOf(quoted) ?? offset, "a quote that is never closed", WANT);
  }
  if (/must .*end with a [\]}]$/.test(message)) {
    const end = offset + (/\S/.exec(text.slice(offset))?.index ?? 0);
    if ("]}".includes(text[end] ?? " ")) {
      return new YamlFault(end, "a bracket of another kind than the one that is open", WANT);
    }
    const open = lastNode(document, (node) => isCollection(node) && endsHere(node));
    return new YamlFault(startOf(open) ?? offset, "a bracket that is never closed", WANT);
  }
  // A quote that is missing is noticed where the next one seems to close the text.
  const quoted = lastNode(document, (node) => {
    const [start = 0, end = 0] = node.range ?? [];
    if (!isScalar(node) || node.type?.startsWith("QUOTE") !== true || !text.slice(start, end).includes("\n"))
      return false;
    return start === offset || (end <= offset && !text.slice(end, offset).includes("\n"));
  });
  if (quoted !== undefined) {
    const what = "a text in quotes over several lines, with more behind its end";
    return new YamlFault(startOf(quoted) ?? offset, what, WANT);
  }
  // `a: b` and a deeper `c: d` below it: what is wrong is the second line.
  const stray = errors.find(({ code }) => code === "MULTILINE_IMPLICIT_KEY");
  return new YamlFault(stray?.pos[1] ?? offset, message, WANT);
}

function startOf(node: Node | undefined): number | undefined {
  return node?.range?.[0];
}

function lastNode(document: Composed, isWanted: (node: Node) => boolean): Node | undefined {
  let found: Node | undefined;
  if (!isDocument(document)) return undefined;
  visit(document, {
    Node: (_, node) => {
      if (isWanted(node)) found = node;
    },
  });
  return found;
}
