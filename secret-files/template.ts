import { Malformed } from "../runtime/environment.ts";
import { quote } from "../runtime/fault.ts";
import { isSecretName, WANT_SECRET_NAME } from "../manifest/annex-names.ts";

/**
 * A configuration file with places for secrets, in the form of Go's templates, of which it is a small part:
 *
 *     {{ secret "db" }}                  the value as it is
 *     {{ secret "db" | base64 | json }}  behind filters, from left to right
 *     {{ "{{" }}                         two braces
 *
 * Anything else between two braces and two braces is an error. What stands outside stays as it is.
 */
export type Template = readonly Part[];

export type Part = string | { readonly secret: string; readonly filters: readonly Filter[] };

/** `json`: a JSON string with its quotes. `base64`: RFC 4648 §4, padded. `url`: percent-encoded, RFC 3986. */
export const FILTERS = ["json", "base64", "url"] as const;
export type Filter = (typeof FILTERS)[number];

/** In UTF-8: it is a part of a policy, one line of which has all templates of a pod. */
export const LARGEST_TEMPLATE = 16 * 1024;
/** Places for secrets. */
const MOST_PLACES = 64;
const MOST_FILTERS = 4;

const SPACE = "[ \\t\\r\\n]*";
const ACTION = new RegExp(
  `\\{\\{${SPACE}(?:"\\{\\{"|secret[ \\t\\r\\n]+"([^"\\\\\\r\\n]*)"((?:${SPACE}\\|${SPACE}\\w+)*))${SPACE}\\}\\}`,
  "y",
);
const WANT = `{{ secret "NAME" }}, behind the name | ${FILTERS.join(", | ")}; or {{ "{{" }} for two braces`;

/** @throws Malformed, which names line and column, and never more than a template says, which is no secret */
export function parseTemplate(text: string): Template {
  if (Buffer.byteLength(text) > LARGEST_TEMPLATE) {
    throw at("", `${Buffer.byteLength(text)} bytes`, `at most ${LARGEST_TEMPLATE}`);
  }
  if (text.includes("\0") || !text.isWellFormed()) {
    throw at("", "characters that no variable can have", "text without U+0000 and halves of characters");
  }
  const parts: Part[] = [];
  let end = 0;
  for (let start = text.indexOf("{{"); start >= 0; start = text.indexOf("{{", end)) {
    parts.push(text.slice(end, start));
    ACTION.lastIndex = start;
    const match = ACTION.exec(text);
    if (match === null) throw at(placeAt(text, start), quote(actionAt(text, start)), WANT);
    end = ACTION.lastIndex;
    const [, name, pipeline = ""] = match;
    parts.push(name === undefined ? "{{" : place(name, pipeline, placeAt(text, start)));
  }
  parts.push(text.slice(end));
  if (secretsOf(parts).length > MOST_PLACES) {
    throw at("", `${secretsOf(parts).length} places for secrets`, `at most ${MOST_PLACES}`);
  }
  return joined(parts);
}

/** The names of the secrets in their order, one for each place. */
export function secretsOf(template: Template): readonly string[] {
  return template.flatMap((part) => (typeof part === "string" ? [] : [part.secret]));
}

function place(secret: string, pipeline: string, where: string): Part {
  if (!isSecretName(secret)) throw at(where, quote(secret), `a secret's name: ${WANT_SECRET_NAME}`);
  const names = pipeline.split("|").slice(1);
  const filters = names.map((padded) => {
    const name = padded.trim();
    const filter = FILTERS.find((known) => known === name);
    if (filter === undefined) throw at(where, `the filter ${quote(name)}`, FILTERS.join(", "));
    return filter;
  });
  if (filters.length > MOST_FILTERS) throw at(where, `${filters.length} filters`, `at most ${MOST_FILTERS}`);
  return { secret, filters };
}

function at(where: string, got: string, want: string): Malformed {
  return new Malformed([{ where, got, want }]);
}

/** To its end, if it has one, for people to find it. */
function actionAt(text: string, start: number): string {
  const end = text.indexOf("}}", start);
  return end < 0 ? text.slice(start) : text.slice(start, end + 2);
}

/** Both from 1, the column in UTF-16 units, as editors count. */
function placeAt(text: string, offset: number): string {
  const before = text.slice(0, offset);
  return `line ${before.split("\n").length}, column ${offset - before.lastIndexOf("\n")}`;
}

/** Neighbouring texts as one, and no empty ones. */
function joined(parts: readonly Part[]): Template {
  const result: Part[] = [];
  for (const part of parts) {
    const last = result.at(-1);
    if (typeof part === "string" && typeof last === "string") result[result.length - 1] = last + part;
    else if (part !== "") result.push(part);
  }
  return result;
}
