import { isAlias, isCollection, type Node } from "yaml";
import { pathText } from "../../manifest/json.ts";
import { type Fault, quote } from "../../runtime/environment.ts";
import { GenerateError } from "./error.ts";
import { composeDocuments, YamlFault } from "./kubernetes-yaml.ts";
import { listFiles } from "./list-files.ts";
import { readText } from "./read-text.ts";
import { TextPlaces } from "./text-places.ts";
import { MOST_COPIES, resolveAliases, startOf, ValueReader } from "./yaml-value.ts";

/** A file with Kubernetes resources: its text, and what each of its documents says. */
export interface ResourceFile {
  /** As it was given, or below a folder that was given. */
  readonly path: string;
  readonly text: string;
  readonly documents: readonly ResourceDocument[];
  /** Plain data, one for each document; changing it changes nothing else. */
  readonly values: readonly unknown[];
  readonly places: TextPlaces;
}

/** The part of the file's text that is a document, with the comments around it and the marks before and behind it. */
export interface ResourceDocument {
  readonly start: number;
  readonly end: number;
  /** What it said when it was read; a tree of it is made again where it is needed. */
  readonly json: string | undefined;
}

export type TreePath = readonly (string | number)[];

/**
 * Reads files and folders, each file once.
 *
 * @param except a file that is not read, even if it is there
 * @throws GenerateError unreadable_file, malformed_yaml
 */
export async function readResourceFiles(paths: readonly string[], except?: string): Promise<ResourceFile[]> {
  const files: ResourceFile[] = [];
  const faults: Fault[] = [];
  for (const path of await listFiles(paths, except)) {
    try {
      files.push(parseResourceFile(path, await readText(path)));
    } catch (error) {
      if (!(error instanceof GenerateError) || error.code !== "malformed_yaml") throw error;
      faults.push(...error.faults);
    }
  }
  if (faults.length > 0) throw malformed(faults);
  return files;
}

/** @throws GenerateError malformed_yaml, with the first fault of the file */
export function parseResourceFile(path: string, text: string): ResourceFile {
  const places = new TextPlaces(text);
  const copies = { left: MOST_COPIES };
  const documents: ResourceDocument[] = [];
  const values: unknown[] = [];
  let start = text.startsWith("\uFEFF") ? 1 : 0;
  try {
    for (const document of composeDocuments(text)) {
      const value = new ValueReader(resolveAliases(document), undefined, copies).value(document.contents);
      const end = document.range[2];
      documents.push({ start, end, json: JSON.stringify(value) });
      values.push(value);
      start = end;
    }
  } catch (error) {
    if (!(error instanceof YamlFault)) throw error;
    const fault = faultIn(text, error);
    throw malformed([{ ...fault, where: `${path}:${places.at(error.offset)}` }], error);
  }
  return { path, text, documents, values, places };
}

/** A line or a value that starts with the mark of a template, without quotes; no YAML does. */
const TEMPLATE = /^[ \t]*(?:- +)*(?:[\w./"'-]+:[ \t]+)?\{\{/m;

/** `file:line:column` of the value at `path` of a document, or of the closest thing above it that is there. */
export function placeIn(file: ResourceFile, document: number, path: TreePath): string {
  const { root, start, aliases } = treeOf(file, document);
  let node = root;
  let offset = startOf(node);
  for (const step of path) {
    if (isAlias(node)) node = aliases.get(node) ?? null;
    node = isCollection(node) ? ((node.get(step, true) as Node | undefined) ?? null) : null;
    if (node === null) break;
    offset = startOf(node);
  }
  return `${file.path}:${file.places.at(start + offset)}`;
}

/** The JSON path inside a document, for messages about what is missing there. */
export function fieldIn(path: TreePath): string {
  return pathText(path).slice(2);
}

interface Tree {
  readonly document: number;
  readonly root: Node | null;
  readonly start: number;
  readonly aliases: ReturnType<typeof resolveAliases>;
}

/** The tree that was asked for last, for a document is asked for its places one after the other. */
const trees = new WeakMap<ResourceFile, Tree>();

function treeOf(file: ResourceFile, document: number): Tree {
  const known = trees.get(file);
  if (known?.document === document) return known;
  const { start = 0, end = 0 } = file.documents[document] ?? {};
  const [composed] = composeDocuments(file.text.slice(start, end));
  const tree =
    composed === undefined
      ? { document, root: null, start, aliases: new Map() }
      : { document, root: composed.contents, start, aliases: resolveAliases(composed) };
  trees.set(file, tree);
  return tree;
}

function faultIn(text: string, { offset, message, want }: YamlFault): Omit<Fault, "where"> {
  const start = text.lastIndexOf("\n", offset - 1) + 1;
  const [line = ""] = text.slice(start).split(/\r?\n/, 1);
  const what = offset < text.length ? quote(line.slice(offset - start)) : "the end";
  const isTemplate = line.includes("{{") || TEMPLATE.test(text);
  return {
    got: `${what}: ${message}`,
    want: isTemplate ? "no template: render it first, as `helm template` does" : want,
  };
}

function malformed(faults: readonly Fault[], cause?: unknown): GenerateError {
  return new GenerateError("malformed_yaml", "a file is not YAML", faults, cause);
}
