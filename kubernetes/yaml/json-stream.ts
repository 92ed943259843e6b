/**
 * Where the parts of a text begin that are read one by one. kubectl reads JSON objects one behind the other as one
 * resource each; to YAML, the second of them is an error. Other texts are one part.
 *
 * @returns at least one offset; the first is that of the text behind a byte order mark
 */
export function streamParts(text: string): number[] {
  const begin = text.startsWith("\uFEFF") ? 1 : 0;
  const parts = [begin];
  let end = objectEnd(text, begin);
  for (let next = end; end !== undefined; end = next) {
    const start = skipSpace(text, end);
    if (text[start] !== "{" || (parts.length === 1 && !isJson(text.slice(begin, end)))) return parts;
    parts.push(start);
    next = objectEnd(text, start);
  }
  return parts;
}

/** @returns where the object ends that begins here, if one does, and if it is JSON */
function objectEnd(text: string, from: number): number | undefined {
  const start = skipSpace(text, from);
  if (text[start] !== "{") return undefined;
  const mark = /["{}]/g;
  mark.lastIndex = start;
  let depth = 0;
  for (let match = mark.exec(text); match !== null; match = mark.exec(text)) {
    if (match[0] === "{") depth++;
    else if (match[0] === "}" && --depth === 0) return mark.lastIndex;
    if (match[0] !== '"') continue;
    const end = textEnd(text, mark.lastIndex);
    if (end === undefined) return undefined;
    mark.lastIndex = end;
  }
  return undefined;
}

/** One pattern for the whole text would use up the stack, if it is long. @returns where a text in quotes ends */
function textEnd(text: string, from: number): number | undefined {
  const mark = /["\\]/g;
  mark.lastIndex = from;
  for (let match = mark.exec(text); match !== null; match = mark.exec(text)) {
    if (match[0] === '"') return mark.lastIndex;
    mark.lastIndex++;
  }
  return undefined;
}

function skipSpace(text: string, from: number): number {
  const space = /[ \t\r\n]*/y;
  space.lastIndex = from;
  space.exec(text);
  return space.lastIndex;
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
