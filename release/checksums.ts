import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { sha256Hex } from "../bytes/sha256.ts";

/** The SHA-256 of every file below a folder, in the form of `sha256sum --check`. */
export async function checksums(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const lines: string[] = [];
  for (const file of files.toSorted()) {
    lines.push(`${sha256Hex(await readFile(file))}  ${relative(directory, file)}\n`);
  }
  return lines.join("");
}
