import type { Filter, Template } from "../secret-files/template.ts";
import { SecretError } from "./secret-error.ts";

/** In bytes. */
export const LARGEST_FILE = 1024 * 1024;

/**
 * The file that a template becomes.
 *
 * @param file its name, for messages @param secrets the values by name
 * @throws SecretError secret_missing, secret_not_text, secret_file_too_large
 */
export function renderTemplate(file: string, template: Template, secrets: ReadonlyMap<string, Uint8Array>): Buffer {
  const missing = template.flatMap((part) => {
    return typeof part === "string" || secrets.has(part.secret) ? [] : [part.secret];
  });
  if (missing.length > 0) throw missingIn(file, [...new Set(missing)]);
  const pieces: Buffer[] = [];
  let size = 0;
  for (const part of template) {
    const value = typeof part === "string" ? part : secrets.get(part.secret);
    if (value === undefined) continue;
    const piece =
      typeof part === "string" || typeof value === "string"
        ? Buffer.from(value)
        : filtered(file, part.secret, value, part.filters);
    size += piece.length;
    if (size > LARGEST_FILE) throw tooLarge(file);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function filtered(file: string, secret: string, value: Uint8Array, filters: readonly Filter[]): Buffer {
  let piece = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  // What a filter makes is text.
  if (filters[0] !== "base64" && !isText(piece)) throw notText(file, secret);
  for (const filter of filters) {
    piece = FILTERS[filter](piece);
    if (piece.length > LARGEST_FILE) throw tooLarge(file);
  }
  return piece;
}

const FILTERS: Readonly<Record<Filter, (value: Buffer) => Buffer>> = {
  base64: (value) => Buffer.from(value.toString("base64")),
  json: (value) => Buffer.from(JSON.stringify(value.toString("utf8")).replaceAll(UNPRINTABLE, escaped)),
  url: (value) => Buffer.from(Array.from(value, percent).join("")),
};

/** JSON allows these, and YAML does not in its quoted strings, or takes them for the end of a line. */
const UNPRINTABLE = /[\u007F-\u009F\u2028\u2029\uFEFF\uFFFE\uFFFF]/g;

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function percent(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9._~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** UTF-8 without U+0000, which ends a string for many who read files. */
function isText(value: Buffer): boolean {
  if (value.includes(0)) return false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(value);
    return true;
  } catch {
    return false;
  }
}

function missingIn(file: string, names: readonly string[]): SecretError {
  const [first = ""] = names;
  return new SecretError("secret_missing", "a template needs a secret that this workload does not get", {
    where: `template ${file}`,
    got: `nothing for ${names.join(", ")}`,
    want: "a secret of each name, with this workload among its readers",
    hint: `contrast secret set ${first} --for WORKLOAD`,
  });
}

function notText(file: string, secret: string): SecretError {
  return new SecretError("secret_not_text", "a template needs text", {
    where: `template ${file}`,
    got: `other bytes in the secret ${secret}`,
    want: "UTF-8 without U+0000, or | base64 behind the name",
    hint: `set ${secret} to a text, or change the template`,
  });
}

function tooLarge(file: string): SecretError {
  return new SecretError("secret_file_too_large", "the file of a template would be too large", {
    where: `template ${file}`,
    got: `more than ${LARGEST_FILE} bytes`,
    want: `at most ${LARGEST_FILE}`,
    hint: "set shorter secrets, or use them in fewer places",
  });
}
