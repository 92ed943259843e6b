import { isDeepStrictEqual } from "node:util";
import { isRecord } from "./yaml/align.ts";
import { ResourceError } from "./error.ts";
import { LARGEST_FILE } from "./read-text.ts";
import {
  parseResourceFile,
  placeIn,
  type ResourceDocument,
  type ResourceFile,
  type TreePath,
} from "./resource-file.ts";
import { editDocument } from "./yaml/yaml-edit.ts";

/**
 * The file's text, changed so that its documents say what is wanted.
 *
 * @throws ResourceError uneditable_yaml, unwritable_file
 */
export function rewriteResourceFile(file: ResourceFile, wanted: readonly unknown[]): string {
  return joined(file.path, rewriteParts(file, wanted));
}

/**
 * The same in parts, to be joined with marks between them: JSON objects one behind the other are a part each.
 *
 * @throws ResourceError uneditable_yaml, unwritable_file
 */
export function rewriteParts(file: ResourceFile, wanted: readonly unknown[]): string[] {
  const texts = file.documents.map((document, index) => rewriteDocument(file, document, index, wanted[index]));
  const starts = [...file.documents.keys()].filter((index) => index === 0 || file.documents[index]?.isNext === true);
  const end = file.text.slice(file.documents.at(-1)?.end ?? 0);
  const parts = starts.map((start, index) => {
    const next = starts[index + 1];
    return joined(file.path, [...texts.slice(start, next), next === undefined ? end : ""]);
  });
  const begin = file.text.slice(0, file.documents[0]?.start ?? 0);
  return parts.length === 0 ? [begin + end] : parts.with(0, begin + (parts[0] ?? ""));
}

function rewriteDocument(
  file: ResourceFile,
  { start, end, json }: ResourceDocument,
  index: number,
  wanted: unknown,
): string {
  const text = file.text.slice(start, end);
  if (JSON.stringify(wanted) === json) return text;
  const edited = editDocument(text, wanted);
  const wrong = difference(valuesOf(edited), [wanted]);
  if (wrong === undefined) return edited;
  throw new ResourceError("uneditable_yaml", "the document can't be changed in place", [
    {
      where: placeIn(file, index, wrong.slice(1)),
      got: "a form that Kubernetes files rarely have, of this value or of what is around it",
      want: "plain block style",
    },
  ]);
}

/**
 * One text with the documents of all: a mark between two, and an end where directives come next.
 *
 * @throws ResourceError unwritable_file
 */
export function joinTexts(path: string, texts: readonly string[]): string {
  const parts = texts.map((text, index) => {
    const mark = DIRECTIVES.test(text) ? "...\n" : "---\n";
    return (index === 0 ? "" : mark) + text.replace(/^\uFEFF/, "").replace(/([^\n])$/, "$1\n");
  });
  return joined(path, parts);
}

const DIRECTIVES = /^\uFEFF?(?:[ \t]*(?:#.*)?\r?\n)*%/;

/** Every pod adds its policy, so that the result may be larger than what can be read again. */
function joined(path: string, parts: readonly string[]): string {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length <= LARGEST_FILE) return parts.join("");
  throw new ResourceError("unwritable_file", "a file would be too large", [
    { where: path, got: `${length} characters`, want: `at most ${LARGEST_FILE}; split it` },
  ]);
}

function valuesOf(text: string): readonly unknown[] {
  try {
    return parseResourceFile("", text).values;
  } catch (error) {
    if (error instanceof ResourceError) return [];
    throw error;
  }
}

/** The way to the first value that is not as it is wanted. */
function difference(value: unknown, wanted: unknown): TreePath | undefined {
  if (isDeepStrictEqual(value, wanted)) return undefined;
  const steps = Array.isArray(wanted) ? [...wanted.keys()] : isRecord(wanted) ? Object.keys(wanted) : [];
  for (const step of steps) {
    const inner = difference(at(value, step), at(wanted, step));
    if (inner !== undefined) return [step, ...inner];
  }
  return [];
}

function at(value: unknown, step: string | number): unknown {
  return (Object(value) as Readonly<Record<string | number, unknown>>)[step];
}
