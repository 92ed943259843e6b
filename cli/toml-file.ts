import { parse, TomlError, type TomlTable } from "smol-toml";
import { ConfigurationError } from "../runtime/environment.ts";

/** TOML 1.0 (https://toml.io/en/v1.0.0), and where in the file its keys stand. */
export interface TomlFile {
  readonly document: TomlTable;
  /** @param keys a key at the top, or of a table and in it @returns `file:line` */
  readonly placeOf: (...keys: readonly string[]) => string;
}

/** Finding the lines takes a parse for each of them. */
const MAX_BYTES = 16_384;

/** @throws ConfigurationError */
export function parseTomlFile(path: string, bytes: Buffer): TomlFile {
  const fault = (where: string, got: string, want: string): Error => new ConfigurationError([{ where, got, want }]);
  if (bytes.length > MAX_BYTES) throw fault(path, `${bytes.length} bytes`, `at most ${MAX_BYTES}`);
  const text = bytes.toString();
  if (!Buffer.from(text).equals(bytes)) throw fault(path, "bytes that are no text", "TOML in UTF-8");
  try {
    const document = parse(text);
    const lines = linesOfKeys(text.split("\n"));
    return { document, placeOf: (...keys) => `${path}:${lines.get(keys.join("\n")) ?? 1}` };
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [got = ""] = error.message.replace(/^Invalid TOML document: /, "").split("\n");
    throw fault(`${path}:${error.line}:${error.column}`, got, "TOML");
  }
}

/** The parser tells no places. A statement begins on the first line after what is a document without it. */
function linesOfKeys(lines: readonly string[]): Map<string, number> {
  const found = new Map<string, number>();
  let begin = 1;
  for (let end = 1; end <= lines.length; end++) {
    const keys = keysOf(lines.slice(0, end).join("\n"));
    if (keys === undefined) continue;
    for (const key of keys) if (!found.has(key)) found.set(key, begin);
    begin = end + 1;
  }
  return found;
}

/** @returns undefined where the text ends within a statement */
function keysOf(text: string): string[] | undefined {
  try {
    return Object.entries(parse(text)).flatMap(([key, value]) => [
      key,
      ...(isTable(value) ? Object.keys(value).map((inner) => `${key}\n${inner}`) : []),
    ]);
  } catch {
    return undefined;
  }
}

export function isTable(value: unknown): value is TomlTable {
  // The parser's tables have no prototype; its dates and lists have one.
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === null;
}
