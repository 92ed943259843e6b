import { isUtf8 } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { placeAt } from "../manifest/text.ts";
import { ResourceError, systemReason } from "./error.ts";

/** A file of resources is not larger, neither before nor after: 128 MiB, some thousands of pods with their policies. */
export const LARGEST_FILE = 128 * 1024 * 1024;
// What go-yaml refuses, too.
const UNPRINTABLE = /[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

/**
 * The text of a file. Only regular files are opened: reading a pipe could wait for ever.
 *
 * @throws ResourceError unreadable_file, malformed_yaml
 */
export async function readText(path: string): Promise<string> {
  const status = await reading(path, () => stat(path));
  if (!status.isFile()) throw unreadable(path, "something that is no regular file", "a file or folder");
  const tooLarge = (size: number): boolean => size > LARGEST_FILE;
  const bytes = tooLarge(status.size) ? undefined : await reading(path, () => readFile(path));
  if (bytes === undefined || tooLarge(bytes.length)) {
    throw unreadable(path, `${status.size} bytes`, `at most ${LARGEST_FILE} bytes; split it`);
  }
  return decode(path, bytes);
}

/**
 * The text of a stream, to its end.
 *
 * @param name of the stream, for messages
 * @throws ResourceError unreadable_file, malformed_yaml
 */
export async function readStreamText(name: string, stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  await reading(name, async () => {
    for await (const chunk of stream) {
      size += chunk.length;
      if (size > LARGEST_FILE) throw unreadable(name, "more", `at most ${LARGEST_FILE} bytes`);
      chunks.push(chunk);
    }
  });
  return decode(name, Buffer.concat(chunks));
}

/** @throws ResourceError unreadable_file */
export async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ResourceError) throw error;
    throw unreadable(path, systemReason(error), "a file or folder that can be read", error);
  }
}

function decode(path: string, bytes: Buffer): string {
  const malformed = (text: string, offset: number, got: string): ResourceError => {
    const where = `${path}:${placeAt(text, offset)}`;
    return new ResourceError("malformed_yaml", "the file can't be read as text", [
      { where, got, want: "printable text in UTF-8" },
    ]);
  };
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) throw malformed("", 0, "UTF-16");
  const text = bytes.toString("utf8");
  if (!isUtf8(bytes)) {
    const copy = Buffer.from(text);
    const offset = bytes.findIndex((byte, index) => byte !== copy[index]);
    const before = bytes.toString("utf8", 0, offset);
    throw malformed(before, before.length, `bytes that are not UTF-8, from offset ${offset}`);
  }
  const unprintable = text.replace(/^\uFEFF/, " ").search(UNPRINTABLE);
  if (unprintable >= 0) {
    const code = (text.codePointAt(unprintable) ?? 0).toString(16).toUpperCase().padStart(4, "0");
    throw malformed(text, unprintable, `the control character U+${code}`);
  }
  return text;
}

function unreadable(path: string, got: string, want: string, cause?: unknown): ResourceError {
  return new ResourceError("unreadable_file", "a path can't be read", [{ where: path, got, want }], cause);
}
