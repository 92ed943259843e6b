import { expect, test } from "vitest";
import { valueChanges } from "./value-changes.ts";

/** `path: from -> to` of each. */
function changes(before: unknown, after: unknown): string[] {
  return valueChanges(before, after).map(({ path, from = "", to = "" }) => `${path}: ${from} -> ${to}`);
}

const container = { name: "web", image: "web:1", command: ["node", "web.js"] };

test.each<[string, unknown, unknown, string[]]>([
  ["equal values", { a: [1, { b: null }] }, { a: [1, { b: null }] }, []],
  ["a value", { a: { b: 1 } }, { a: { b: 2 } }, ["a.b: 1 -> 2"]],
  ["a number that became text", { a: 1 }, { a: "1" }, ['a: 1 -> "1"']],
  ["a key that came", {}, { a: null }, ["a:  -> null"]],
  ["a key that went", { a: { b: 1 } }, {}, ['a: {"b":1} -> ']],
  ["a key that is no key of objects", {}, JSON.parse('{"__proto__": 1}'), ["__proto__:  -> 1"]],
  ["an item that came", { sans: ["a"] }, { sans: ["a", "b"] }, ['sans:  -> "b"']],
  ["items that went and came", { sans: ["a", "b"] }, { sans: ["c", "b"] }, ['sans: "a" -> ', 'sans:  -> "c"']],
  ["another order", { command: ["a", "b"] }, { command: ["b", "a"] }, ['command: ["a","b"] -> ["b","a"]']],
  ["an item twice", { command: ["a"] }, { command: ["a", "a"] }, ['command: ["a"] -> ["a","a"]']],
  ["text in place of a number", [1], ["1"], [": 1 -> ", ':  -> "1"']],
  [
    "an item of a list by its name",
    { containers: [{ type: "sandbox", name: "" }, container] },
    { containers: [{ type: "sandbox", name: "" }, { name: "new" }, { ...container, image: "web:2" }] },
    ['containers.web.image: "web:1" -> "web:2"', 'containers.new:  -> {"name":"new"}'],
  ],
  [
    "items with one name, as a whole",
    [{ name: "a" }, { name: "a", b: 1 }],
    [{ name: "a" }, { name: "a", b: 2 }],
    [': [{"name":"a"},{"name":"a","b":1}] -> [{"name":"a"},{"name":"a","b":2}]'],
  ],
])("%s", (_, before, after, expected) => {
  expect(changes(before, after)).toEqual(expected);
});
