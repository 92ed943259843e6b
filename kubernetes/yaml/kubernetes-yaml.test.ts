import { expect, test } from "vitest";
import { parse } from "yaml";
import { parseResourceFile } from "../resource-file.ts";
import { blockLines } from "./yaml-style.ts";

function read(text: string): unknown {
  return parseResourceFile("", text).values[0];
}

/** What `sigs.k8s.io/yaml` 1.6.0, which kubectl reads with, makes of them. */
const AS_KUBECTL: readonly [string, unknown][] = [
  ...["yes", "y", "Yes", "on", "ON", "true", "TRUE"].map((text): [string, unknown] => [text, true]),
  ...["no", "n", "NO", "off", "Off", "false"].map((text): [string, unknown] => [text, false]),
  ...["tRUE", "yES", "2001-01-01", "22:22", ".", "e2", ".e5", "1e", "0b", "0b12", "0X", "+", "._5", "="].map(
    (text): [string, unknown] => [text, text],
  ),
  ...["~", "null", "Null", "NULL", ""].map((text): [string, unknown] => [text, null]),
  ["0644", 420],
  ["-0644", -420],
  ["0_7", 7],
  ["0o17", 15],
  ["0O17", 15],
  ["08", 8],
  ["09.5", 9.5],
  ["1_000", 1000],
  ["1_", 1],
  ["+1", 1],
  ["0x1F", 31],
  ["0X1f", 31],
  ["-0b11", -3],
  ["0B11", 3],
  ["1.", 1],
  [".5", 0.5],
  ["+.5", 0.5],
  ["-.5", -0.5],
  ["1e3", 1000],
  ["12e03", 12_000],
  ["1.e5", 100_000],
  ["1.5_5", 1.55],
  ["1_0.5", 10.5],
];

test.for(AS_KUBECTL)("reads %s as kubectl does", ([text, value]) => {
  expect(read(`a: ${text}\n`)).toEqual({ a: value });
  if (text !== "") expect(read(`[${text}]`)).toEqual([value]);
});

test("writes text so that it is text for every reader", () => {
  for (const [text] of AS_KUBECTL) {
    const yaml = blockLines({ a: text }, { json: false, compact: false, indent: 2, indentSeq: true }).join("\n");
    expect(read(yaml)).toEqual({ a: text });
    for (const version of ["1.1", "1.2"] as const) expect(parse(yaml, { version }), yaml).toEqual({ a: text });
  }
});

test.for([
  ["the key behind a merge", "a: &x {k: 1, m: 2}\nb:\n  <<: *x\n  k: 5\n", { k: 5, m: 2 }],
  ["the merge behind a key", "a: &x {k: 1, m: 2}\nb:\n  k: 5\n  <<: *x\n", { k: 1, m: 2 }],
  ["the first merge of a list", "a: &x {k: 1}\nc: &y {k: 2, m: 3}\nb:\n  <<: [*x, *y]\n", { k: 1, m: 3 }],
  ["the last one of two merges", "a: &x {k: 1}\nb:\n  <<: *x\n  <<: {k: 2}\n", { k: 2 }],
  ["a quoted <<", 'b: {"<<": {k: 1}}\n', { "<<": { k: 1 } }],
  ["keys that are no text", "b: {0644: 1, on: 2}\n", { "420": 1, true: 2 }],
  ["tags", 'b: [!!str 0644, !!int "5", !foo x]\n', ["0644", 5, "x"]],
  ["the last one of two anchors", "a: &x 1\nc: &x 2\nb: *x\n", 2],
])("reads %s as kubectl does", ([, text, value]) => {
  expect((read(text as string) as { b: unknown }).b).toEqual(value);
});

test("reads a key like any other where its name is that of a prototype", () => {
  const value = read("__proto__: {a: 1}\nb: 2\n") as object;
  expect(Object.keys(value)).toEqual(["__proto__", "b"]);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
});
