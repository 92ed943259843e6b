import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { type Document, isAlias, isCollection, type Node, parseAllDocuments } from "yaml";
import { pathText } from "../../manifest/json.ts";
import { placeAt } from "../../manifest/text.ts";
import { quote } from "../../runtime/environment.ts";
import { GenerateError, systemReason } from "./error.ts";
import { editYaml } from "./yaml-edit.ts";

/** A YAML file with Kubernetes resources: its text, and what each of its documents says. */
export interface ResourceFile {
  /** As it was given, or below a folder that was given. */
  readonly path: string;
  readonly text: string;
  readonly documents: readonly Document.Parsed[];
  /** Plain data, one for each document; changing it changes nothing else. */
  readonly values: readonly unknown[];
}

export type TreePath = readonly (string | number)[];

/**
 * Reads files, and the *.yml and *.yaml in folders and their folders: folders in the order of their names, each file
 * once.
 *
 * @param except a file that is not read, even if it is there
 * @throws GenerateError unreadable_file, malformed_yaml
 */
export async function readResourceFiles(paths: readonly string[], except?: string): Promise<ResourceFile[]> {
  const files = new Map<string, string>();
  const skipped = except === undefined ? undefined : await realpath(except).catch(() => undefined);
  for (const path of paths) {
    for (const file of await reading(path, () => list(path))) {
      const real = await reading(file, () => realpath(file));
      if (real !== skipped && !files.has(real)) files.set(real, file);
    }
  }
  return Promise.all([...files.values()].map(readResourceFile));
}

async function list(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory() && /\.ya?ml$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
}

async function readResourceFile(path: string): Promise<ResourceFile> {
  const bytes = await reading(path, () => readFile(path));
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    const fault = { where: path, got: "bytes that are not UTF-8", want: "UTF-8" };
    throw new GenerateError("malformed_yaml", "the file can't be read as text", [fault], error);
  }
  return parseResourceFile(path, text);
}

/** @throws GenerateError malformed_yaml */
export function parseResourceFile(path: string, text: string): ResourceFile {
  const documents = parse(text);
  const faults = documents.flatMap(({ errors }) =>
    errors.map(({ message, pos: [start] }) => {
      const line = text.slice(start).split(/\r?\n/, 1)[0] ?? "";
      return {
        where: `${path}:${placeAt(text, start)}`,
        got: start < text.length ? quote(line) : "the end",
        want: message,
      };
    }),
  );
  if (faults.length > 0) throw new GenerateError("malformed_yaml", "the file is not YAML", faults);
  return { path, text, documents, values: documents.map((document) => toPlain(document, path)) };
}

/**
 * The file's text, changed so that its documents say what is wanted.
 *
 * @throws GenerateError uneditable_yaml
 */
export function rewriteResourceFile(file: ResourceFile, wanted: readonly unknown[]): string {
  const text = editYaml(file.text, file.documents, wanted);
  if (text === file.text) return text;
  const values = parse(text).map((document) => (document.errors.length > 0 ? undefined : toPlain(document, file.path)));
  const wrong = wanted.findIndex((value, index) => !isDeepStrictEqual(value, values[index]));
  if (wrong < 0) return text;
  throw new GenerateError("uneditable_yaml", "the document can't be changed in place", [
    {
      where: placeIn(file, wrong, []),
      got: "anchors, merges or another form that Kubernetes files rarely have",
      want: "the document in plain block style",
    },
  ]);
}

/** `file:line:column` of the value at `path` of a document, or of the closest thing above it that is there. */
export function placeIn(file: ResourceFile, document: number, path: TreePath): string {
  const root = file.documents[document];
  let node: Node | null = root?.contents ?? null;
  let offset = node?.range?.[0] ?? root?.range[0] ?? 0;
  for (const step of path) {
    if (isAlias(node) && root !== undefined) node = node.resolve(root) ?? null;
    node = isCollection(node) ? ((node.get(step, true) as Node | undefined) ?? null) : null;
    if (node === null) break;
    offset = node.range?.[0] ?? offset;
  }
  return `${file.path}:${placeAt(file.text, offset)}`;
}

/** The JSON path inside a document, for messages about what is missing there. */
export function fieldIn(path: TreePath): string {
  return pathText(path).slice(2);
}

function parse(text: string): Document.Parsed[] {
  const documents = parseAllDocuments(text, { merge: true, prettyErrors: false });
  // A stream without documents is not a list but one that says so.
  return Array.isArray(documents) ? (documents as Document.Parsed[]) : [];
}

/** Aliases become copies: what is changed at one place must not change at another. */
function toPlain(document: Document.Parsed, path: string): unknown {
  try {
    return copy(document.toJS());
  } catch (error) {
    const fault = { where: path, got: error instanceof Error ? quote(error.message) : "", want: "aliases of anchors" };
    throw new GenerateError("malformed_yaml", "the aliases can't be resolved", [fault], error);
  }
}

function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copy(inner)]));
}

async function reading<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const fault = { where: path, got: systemReason(error), want: "a file or folder that can be read" };
    throw new GenerateError("unreadable_file", "a path can't be read", [fault], error);
  }
}
