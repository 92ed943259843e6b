import { readFile } from "node:fs/promises";
import type { Fault } from "../../runtime/fault.ts";
import { quote } from "../../runtime/fault.ts";
import { GenerateError } from "./error.ts";
import { systemReason } from "../../kubernetes/error.ts";

/** Image references, original to replacement. */
export type ImageReplacements = ReadonlyMap<string, string>;

/**
 * Reads the file of --image-replacements: lines of `original=replacement`; empty lines and those with # are none.
 *
 * @throws GenerateError unreadable_file, invalid_image_replacements
 */
export async function readImageReplacements(path: string): Promise<ImageReplacements> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const fault = { where: path, got: systemReason(error), want: "a file that can be read" };
    throw new GenerateError("unreadable_file", "the image replacements can't be read", [fault], error);
  }
  return parseImageReplacements(text, path);
}

/** A line without a digest is also about the image that a run before has pinned. */
export function replaceImage(image: string, replacements: ImageReplacements): string {
  return replacements.get(image) ?? replacements.get(image.replace(/@[^@]*$/, "")) ?? image;
}

/** @throws GenerateError invalid_image_replacements */
export function parseImageReplacements(text: string, path: string): ImageReplacements {
  const faults: Fault[] = [];
  const replacements = new Map<string, string>();
  const wheres = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const entry = line.trim();
    if (entry === "" || entry.startsWith("#")) continue;
    const where = `${path}:${index + 1}`;
    const [, original, replacement] = /^([^\s=]+)=([^\s=]+)$/.exec(entry) ?? [];
    if (original === undefined || replacement === undefined) {
      faults.push({ where, got: quote(entry), want: "original=replacement" });
    } else if (replacements.has(original)) {
      faults.push({ where, got: `${quote(original)} again`, want: "every image once" });
    } else {
      replacements.set(original, replacement);
      wheres.set(original, where);
    }
  }
  for (const [original, replacement] of replacements) {
    // A second run would replace it once more.
    if (replaceImage(replacement, replacements) === replacement) continue;
    faults.push({
      where: wheres.get(original) ?? path,
      got: `${quote(replacement)}, which is replaced itself`,
      want: "the image that it ends with",
    });
  }
  if (faults.length > 0)
    throw new GenerateError("invalid_image_replacements", "the image replacements are wrong", faults);
  return replacements;
}
