import { isAlias, isCollection, type Node } from "yaml";
import { pathText } from "../manifest/json.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { ResourceError } from "./error.ts";
import { composeDocuments } from "./yaml/kubernetes-yaml.ts";
import { YamlFault } from "./yaml/yaml-fault.ts";
import { listFiles } from "./list-files.ts";
import { readText } from "./read-text.ts";
import { streamParts } from "./yaml/json-stream.ts";
import { oddLineBreak } from "./yaml/line-breaks.ts";
import { TextPlaces } from "./yaml/text-places.ts";
import { MOST_COPIES, resolveAliases, startOf, ValueReader } from "./yaml/yaml-value.ts";

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
  /** Whether it is a JSON object right behind another, without a mark between them. */
  readonly isNext: boolean;
  /** What kubectl reads without a word, and others may read in another way. In the order of the text. */
  readonly doubts: readonly Doubt[];
}

/** A place of a document of which it is not certain what it says. */
export interface Doubt extends Fault {
  readonly code: "duplicate_key" | "line_break";
}

export type TreePath = readonly (string | number)[];

/**
 * Reads files and folders, each file once.
 *
 * @param except a file that is not read, even if it is there
 * @throws ResourceError unreadable_file, malformed_yaml
 */
export async function readResourceFiles(paths: readonly string[], except?: string): Promise<ResourceFile[]> {
  const files: ResourceFile[] = [];
  const faults: Fault[] = [];
  for (const path of await listFiles(paths, except)) {
    try {
      files.push(parseResourceFile(path, await readText(path)));
    } catch (error) {
      if (!(error instanceof ResourceError) || error.code !== "malformed_yaml") throw error;
      faults.push(...error.faults);
    }
  }
  if (faults.length > 0) throw malformed(faults);
  return files;
}

/** @throws ResourceError malformed_yaml, with the first fault of the file */
export function parseResourceFile(path: string, text: string): ResourceFile {
  const places = new TextPlaces(text);
  const copies = { left: MOST_COPIES };
  const documents: ResourceDocument[] = [];
  const values: unknown[] = [];
  const parts = streamParts(text);
  for (const [index, part] of parts.entries()) {
    const source = text.slice(part, parts[index + 1]);
    const at = (offset: number): string => `${path}:${places.at(part + offset)}`;
    const doubtOf = (code: Doubt["code"], { offset, message, want }: YamlFault): Doubt => {
      return { code, where: at(offset), got: message, want };
    };
    let start = 0;
    try {
      for (const document of composeDocuments(source)) {
        const again = new Map<number, YamlFault>();
        const note = (fault: YamlFault): void => void again.set(fault.offset, fault);
        const value = new ValueReader(resolveAliases(document), undefined, copies, note).value(document.contents);
        const end = document.range[2];
        const lineBreak = oddLineBreak(source.slice(start, end), start);
        const doubts = [
          ...[...again.values()].map((fault) => doubtOf("duplicate_key", fault)),
          ...(lineBreak === undefined ? [] : [doubtOf("line_break", lineBreak)]),
        ];
        const isNext = index > 0 && start === 0;
        documents.push({ start: part + start, end: part + end, json: JSON.stringify(value), isNext, doubts });
        values.push(value);
        start = end;
      }
    } catch (error) {
      if (!(error instanceof YamlFault)) throw error;
      const [line = ""] = source.slice(error.offset).split("\n", 1);
      const first = oddLineBreak(source.slice(start, error.offset) + line, start);
      throw malformed([{ ...faultIn(source, first ?? error), where: at((first ?? error).offset) }], error);
    }
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

function malformed(faults: readonly Fault[], cause?: unknown): ResourceError {
  return new ResourceError("malformed_yaml", "a file is not YAML", faults, cause);
}
