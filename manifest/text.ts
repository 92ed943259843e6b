import { type ManifestCode, ManifestError } from "./error.ts";

/** No manifest and no initdata document is larger: 1 MiB. */
export const LARGEST_FILE = 1024 * 1024;

/**
 * Bytes to text, so that one text has one encoding: UTF-8 without a byte order mark, nothing replaced.
 *
 * @throws ManifestError with the given code
 */
export function decodeText(bytes: Uint8Array, code: ManifestCode): string {
  const refuse = (where: string, got: string, want: string): ManifestError =>
    new ManifestError(code, "the file cannot be read as text", [{ where, got, want }]);
  if (bytes.length > LARGEST_FILE) {
    throw refuse("the whole file", `${bytes.length} bytes`, `at most ${LARGEST_FILE} bytes`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw refuse("the whole file", "bytes that are not UTF-8", "UTF-8");
  }
  if (text.startsWith("\uFEFF")) throw refuse("1:1", "a byte order mark", "UTF-8 without one");
  return text;
}

/** `line:column` of an offset, both from 1, the column in UTF-16 units, as editors count. */
export function placeAt(text: string, offset: number): string {
  const before = text.slice(0, offset);
  return `${before.split("\n").length}:${offset - before.lastIndexOf("\n")}`;
}
