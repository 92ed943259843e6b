import { isJson } from "./json-stream.ts";
import { YamlFault } from "./yaml-fault.ts";

/** go-yaml, of YAML 1.1, ends a line at each of these; readers of YAML 1.2 do not. JSON may have the last three in text. */
const ODD = /\r(?!\n)|[\u0085\u2028\u2029]/;

/**
 * The first character of a document where go-yaml begins a line, and we don't: behind it a comment may have ended.
 *
 * @param start offset of the document, for the fault
 */
export function oddLineBreak(document: string, start: number): YamlFault | undefined {
  const offset = document.search(ODD);
  if (offset < 0 || (document[offset] !== "\r" && isJson(document))) return undefined;
  const code = document.charCodeAt(offset).toString(16).toUpperCase().padStart(4, "0");
  return new YamlFault(
    start + offset,
    `the character U+${code}, which ends a line for kubectl`,
    "a line feed, or an escape",
  );
}
