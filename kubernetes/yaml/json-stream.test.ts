import { expect, test } from "vitest";
import { streamParts } from "./json-stream.ts";

const object = JSON.stringify({ text: 'a "quoted" { brace \\' });

test("objects one behind the other are parts, and braces and quotes in their texts are none", () => {
  expect(streamParts(`${object}\n${object} ${object}`)).toEqual([0, object.length + 1, 2 * object.length + 2]);
  expect(streamParts(`\uFEFF${object}${object}`)).toEqual([1, 1 + object.length]);
});

test.each([
  ["YAML in braces", "{a: b} {c: d}"],
  ["a text that does not end", '{"a": "b}{'],
  ["no object", "a: b\n"],
])("%s is one part", (_, text) => expect(streamParts(text)).toEqual([0]));

test("a text of 32 million letters is read", () => {
  const large = JSON.stringify({ text: "x".repeat(32_000_000) });
  expect(streamParts(large + object)).toEqual([0, large.length]);
});
