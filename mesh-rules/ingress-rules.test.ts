import { assert, boolean, constantFrom, integer, property, record, string, tuple, uniqueArray } from "fast-check";
import { expect, test } from "vitest";
import { Malformed } from "../runtime/environment.ts";
import { parseIngressRules, printIngressRules } from "./ingress-rules.ts";

function faultsOf(text: string): string[] {
  try {
    parseIngressRules(text);
  } catch (error) {
    if (error instanceof Malformed) return error.message.split("\n");
    throw error;
  }
  return [];
}

test("rules are read with both spellings of the boolean", () => {
  expect(parseIngressRules("web#8080#false##metrics#9090#1##a b#1#0##web#65535#true")).toEqual([
    { name: "web", port: 8080, disableTls: false },
    { name: "metrics", port: 9090, disableTls: true },
    { name: "a b", port: 1, disableTls: false },
    { name: "web", port: 65535, disableTls: true },
  ]);
});

test("an empty text has no rules", () => {
  expect(parseIngressRules("")).toEqual([]);
});

const PORT = "want a port: 1 to 65535, without sign, space or leading zero";
const BOOLEAN = "want true, false, 1 or 0";
const FORM = "want <name>#<port>#<disableTLS>";
const EMPTY = `${FORM}, entries joined by ## and none after the last`;

test.each([
  ["web#0#true", [`entry 1 "web#0#true": got "0", ${PORT}`]],
  ["web#65536#true", [`entry 1 "web#65536#true": got "65536", ${PORT}`]],
  ["web#08080#false", [`entry 1 "web#08080#false": got "08080", ${PORT}`]],
  ["web#+80#true", [`entry 1 "web#+80#true": got "+80", ${PORT}`]],
  ["web#-80#true", [`entry 1 "web#-80#true": got "-80", ${PORT}`]],
  ["web# 80#true", [`entry 1 "web# 80#true": got " 80", ${PORT}`]],
  ["web#80 #true", [`entry 1 "web#80 #true": got "80 ", ${PORT}`]],
  ["web#8e1#true", [`entry 1 "web#8e1#true": got "8e1", ${PORT}`]],
  ["web#http#true", [`entry 1 "web#http#true": got "http", ${PORT}`]],
  ["web#80#yes", [`entry 1 "web#80#yes": got "yes", ${BOOLEAN}`]],
  ["web#80#True", [`entry 1 "web#80#True": got "True", ${BOOLEAN}`]],
  ["web#80#", [`entry 1 "web#80#": got "", ${BOOLEAN}`]],
  ["#80#true", [`entry 1 "#80#true": got "", want a name that is not empty`]],
  [" #80#true", [`entry 1 " #80#true": got " ", want a name that is not empty`]],
  ["web#80", [`entry 1 "web#80": got 2 fields, ${FORM}`]],
  ["web", [`entry 1 "web": got 1 field, ${FORM}`]],
  ["web#80#true#", [`entry 1 "web#80#true#": got 4 fields, ${FORM}`]],
  ["web#80#true#x", [`entry 1 "web#80#true#x": got 4 fields, ${FORM}`]],
  ["a#1#true##", [`entry 2 "": got an empty entry, ${EMPTY}`]],
  ["##a#1#true", [`entry 1 "": got an empty entry, ${EMPTY}`]],
  ["a#1#true####b#2#true", [`entry 2 "": got an empty entry, ${EMPTY}`]],
  ["a#1#true##b#1#false", [`entry 2 "b#1#false": got port 1 again, want port 1 once; entry 1 has it`]],
])("%j is rejected", (text, faults) => {
  expect(faultsOf(text)).toEqual(faults);
});

test("all faults of a text are reported together", () => {
  expect(faultsOf("#0#maybe##web#80#true##web#80#no##x")).toHaveLength(6);
});

const name = string({ minLength: 1 }).filter((text) => text.trim() !== "" && !text.includes("#"));
const port = integer({ min: 1, max: 65535 });

test("what is printed is read as the same rules", () => {
  const rule = record({ name, port, disableTls: boolean() });
  assert(
    property(uniqueArray(rule, { selector: ({ port }) => port }), (rules) => {
      expect(parseIngressRules(printIngressRules(rules))).toEqual(rules);
    }),
  );
});

test("what is accepted is printed back to the same rules", () => {
  const entry = tuple(name, port, constantFrom("true", "false", "1", "0"));
  assert(
    property(uniqueArray(entry, { selector: ([, port]) => port }), (entries) => {
      const rules = parseIngressRules(entries.map((fields) => fields.join("#")).join("##"));
      expect(rules).toHaveLength(entries.length);
      expect(parseIngressRules(printIngressRules(rules))).toEqual(rules);
    }),
  );
});
