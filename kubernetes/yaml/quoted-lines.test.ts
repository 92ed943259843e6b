import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseResourceFile } from "../resource-file.ts";
import { rewriteResourceFile } from "../rewrite-resource.ts";

/** Text in quotes and brackets whose lines are not indented. */

function read(text: string): readonly unknown[] {
  return parseResourceFile("", text).values;
}

/** Recorded: what the decoder of k8s.io/apimachinery 0.34.4, which kubectl reads files with, makes of them. */
const AS_KUBECTL: readonly [string, unknown][] = [
  ['a: "x\ny"\nb: 1\n', { a: "x y", b: 1 }],
  ['a: "x\ny"', { a: "x y" }],
  ["a:\n  b: 'x\n\n \ny' # c\n  c: 1\n", { a: { b: "x\n\ny", c: 1 } }],
  ['- "x\ny"\n- 1\n', ["x y", 1]],
  ["a:\n  - 'x\ny'\n  - b: 'x\nz'\n    c: 2\n", { a: ["x y", { b: "x z", c: 2 }] }],
  ['a:\n  b:\n    "x\ny"\n  c: 1\n', { a: { b: "x y", c: 1 } }],
  ['a:\r\n  b: "x\r\n\r\ny" # c\r\n  c: 1\r\n', { a: { b: "x\ny", c: 1 } }],
  ['a: "x\n# y"\nb: 1\n', { a: "x # y", b: 1 }],
  ['a: "x\nb: y"\nc: 1\n', { a: "x b: y", c: 1 }],
  ["a: 'x\n- y'\nb: 1\n", { a: "x - y", b: 1 }],
  ['a: "x\n\ty"\nb: 1\n', { a: "x y", b: 1 }],
  ['a: "x\n  ---\ny"\n', { a: "x --- y" }],
  ['a: "x\n...y"\n', { a: "x ...y" }],
  ['a:\n  b: "x\n"\n  c: 1\n', { a: { b: "x ", c: 1 } }],
  ['a:\n  b: "\n"\n  c: 1\n', { a: { b: " ", c: 1 } }],
  ['a: "x\\\ny"\n', { a: "xy" }],
  ['a:\n  b: "x\\\n\ty\\\n z"\n', { a: { b: "xyz" } }],
  ['a: "x\\\n\n\n  y"\n', { a: "x\n\ny" }],
  ['a: "x\\n\ny"\n', { a: "x\n y" }],
  ['a: "x\\\\\n\ny"\n', { a: "x\\\ny" }],
  ["a: 'it''s\nb'\n", { a: "it's b" }],
  ['a: "it\\\'s\nb"\n', { a: "it's b" }],
  ['"it\\\'s": "\\\\\'"\n', { "it's": "\\'" }],
  ['a: &x "x\ny"\nb: *x\n', { a: "x y", b: "x y" }],
  ['a: !!str "x\ny"\nb: 1\n', { a: "x y", b: 1 }],
  ['? "a\nb"\n: 1\n', { "a b": 1 }],
  ['a: "x\ny"#z\nb: 1\n', { a: "x y", b: 1 }],
  ['a: {b: "x\ny", c: 1}\n', { a: { b: "x y", c: 1 } }],
  ['a:\n  b: ["x\ny"\n, 1] # c\n  c: 2\n', { a: { b: ["x y", 1], c: 2 } }],
  ["a:\n  b: [\nc,\n# d\n\n]\n  e: 1\n", { a: { b: ["c"], e: 1 } }],
  ["a:\n  b: {\nc: 1,\n\td: [x\ny]}\n  e: 1\n", { a: { b: { c: 1, d: ["x y"] }, e: 1 } }],
  ["a:\r\n  b: [\r\nc\r\n]\r\n  e: 1\r\n", { a: { b: ["c"], e: 1 } }],
];

test.for(AS_KUBECTL)("reads %j as kubectl does", ([text, value]) => {
  expect(read(text)).toEqual([value]);
});

/** Recorded in the same way. */
test.for([
  ['a: "x\n---\ny"\n', "1:4", "a quote that is never closed"],
  ['a: "x\n--- y"\n', "1:4", "a quote that is never closed"],
  ["a: 'x\n...\ny'\n", "1:4", "a quote that is never closed"],
  ["a:\n  b: 'x\n---\ny'\n", "2:6", "a quote that is never closed"],
  ["a: [\n---\n]\n", "1:4", "a bracket that is never closed"],
  ['a: "x\ny\nb: 1\n', "1:4", "a quote that is never closed"],
  [`a: 1\nb:\n  c: 'x\n${"y: z\n".repeat(40)}`, "3:6", "a quote that is never closed"],
  ['a:\n  b: "x\n  c: "y"\n  d: 1\n', "2:6", "a text in quotes over several lines"],
  ['a: "x\ny" z\nb: 1\n', "1:4", "a text in quotes over several lines"],
  ['a: "x\ny" z: 1\n', "1:4", "a text in quotes over several lines"],
  ['a: "x\ny"z\nb: 1\n', "1:4", "a text in quotes over several lines"],
  ["a: {b: 'x\ny' z, c: 1}\n", "1:8", "a text in quotes over several lines"],
  ['"a\nb": 1\n', "1:1", "a text in quotes over several lines"],
  ["a:\n  b: {c: 1,\n  d: [1, 2\n", "3:6", "a bracket that is never closed"],
  ["a:\n  b: {c: 1,\n  d: [1, 2\n}\n", "4:1", "a bracket of another kind"],
  ['a: 1\nb: "x\\q"\n', "2:6", "Invalid escape sequence \\q"],
  ['a: "x\n  y \\q z"\n', "2:5", "Invalid escape sequence \\q"],
])("says of %j where what kubectl refuses begins", ([text, place, got]) => {
  let error: unknown;
  try {
    read(text ?? "");
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toMatchObject({ code: "malformed_yaml", where: `:${place}` });
  expect((error as { got: string }).got).toContain(got);
});

/** Places of a value: around it is what has to come out whole. */
const CONTEXTS: readonly [string, (value: unknown) => unknown][] = [
  ["a: Q\nb: 1\n", (a) => ({ a, b: 1 })],
  ["a:\n  b: Q # c\n  c: 1\n", (b) => ({ a: { b, c: 1 } })],
  ["a:\n    - Q\n    - b: Q\n      c: 1\n", (b) => ({ a: [b, { b, c: 1 }] })],
  ["a: {b: Q, c: 1}\nd: 1\n", (b) => ({ a: { b, c: 1 }, d: 1 })],
  ["a:\n  b: [Q, {c: Q}]\n  c: 1\n", (b) => ({ a: { b: [b, { c: b }], c: 1 } })],
];

const piece = fc.constantFrom(
  "x",
  "é😀",
  " ",
  "  ",
  "\t",
  "#",
  " # y",
  ": ",
  "- ",
  "{",
  "]",
  ",",
  "&a",
  "*a",
  "|",
  "--",
);
const line = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));
/** A text, and how far it stands to the right. At the edge the mark of a document would end the other one, for kubectl too. */
const indentedLine = fc
  .tuple(line, fc.nat(9))
  .map(([part, own]): [string, number] => [part, part.startsWith("---") ? own + 1 : own]);
const quotedLines = fc.record({
  context: fc.constantFrom(...CONTEXTS),
  quote: fc.constantFrom('"', "'"),
  eol: fc.constantFrom("\n", "\r\n"),
  lines: fc.array(indentedLine, { minLength: 2, maxLength: 6 }),
});

test("indentation changes nothing between quotes", () => {
  fc.assert(
    fc.property(quotedLines, ({ context: [text, around], quote, eol, lines }) => {
      const write = (indentation: (own: number) => number): string => {
        const quoted = lines.map(([part, own], index) => (index === 0 ? part : " ".repeat(indentation(own)) + part));
        return text.replaceAll("Q", () => quote + quoted.join("\n") + quote).replaceAll("\n", eol);
      };
      const [any] = read(write((own) => own));
      // So deep that any reader of YAML takes it.
      const [deep] = read(write(() => 12));
      expect(any).toEqual(deep);
      const folded = lines.map(([part], index) => {
        const start = index === 0 ? part : part.trimStart();
        return index === lines.length - 1 ? start : start.trimEnd();
      });
      const value = folded.reduce((all, part, index) => {
        const isEmpty = part === "" && index < lines.length - 1;
        const isAfterEmpty = index > 1 && folded[index - 1] === "";
        return isEmpty ? `${all}\n` : isAfterEmpty ? all + part : `${all} ${part}`;
      });
      expect(any).toEqual(around(value));
    }),
  );
});

test("what stands around such a text is changed in place, and so is the text", () => {
  fc.assert(
    fc.property(quotedLines, fc.boolean(), ({ context: [text, around], quote, eol, lines }, isReplaced) => {
      const quoted = quote + lines.map(([part, own]) => " ".repeat(own) + part).join("\n") + quote;
      const file = parseResourceFile("", text.replaceAll("Q", () => quoted).replaceAll("\n", eol));
      const [before] = file.values as readonly Record<string, unknown>[];
      const wanted = isReplaced ? { ...(around("new") as object), z: 1 } : { ...before, z: 1 };
      const after = rewriteResourceFile(file, [wanted]);
      expect(read(after)).toEqual([wanted]);
      if (!isReplaced) expect(after.replaceAll("\r\n", "\n")).toBe(`${text.replaceAll("Q", () => quoted)}z: 1\n`);
      if (eol === "\r\n") expect(after).not.toMatch(/[^\r]\n/);
    }),
  );
});
