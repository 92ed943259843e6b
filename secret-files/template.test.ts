import { assert, constantFrom, array, property, string } from "fast-check";
import { expect, test } from "vitest";
import { Malformed } from "../runtime/environment.ts";
import { LARGEST_TEMPLATE, parseTemplate, type Template } from "./template.ts";

function faultOf(text: string): string {
  try {
    parseTemplate(text);
  } catch (error) {
    if (error instanceof Malformed) return error.message;
    throw error;
  }
  return "none";
}

test.each<[string, Template]>([
  ["", []],
  ["listen 80; # } {a} }} { {", ["listen 80; # } {a} }} { {"]],
  ['{{ secret "db" }}', [{ secret: "db", filters: [] }]],
  ['{{secret "db"}}', [{ secret: "db", filters: [] }]],
  ['{{\n\tsecret\r\n"db"\t|\n json\n}}', [{ secret: "db", filters: ["json"] }]],
  ['a={{ secret "A.b-c_9" | base64|url }}\n', ["a=", { secret: "A.b-c_9", filters: ["base64", "url"] }, "\n"]],
  ['x {{ "{{" }} .Values }} y', ["x {{ .Values }} y"]],
  [
    '{{ secret "a" }}{{ secret "b" }}',
    [
      { secret: "a", filters: [] },
      { secret: "b", filters: [] },
    ],
  ],
])("%j is read", (text, template) => {
  expect(parseTemplate(text)).toEqual(template);
});

const WANT = '{{ secret "NAME" }}, behind the name | json, | base64, | url; or {{ "{{" }} for two braces';

test.each([
  ["{{ }}", '"{{ }}"'],
  ["{{ .Values.password }}", '"{{ .Values.password }}"'],
  ["{{ secret db }}", '"{{ secret db }}"'],
  ["{{ secret `db` }}", '"{{ secret `db` }}"'],
  ["{{ secret 'db' }}", `"{{ secret 'db' }}"`],
  ['{{ secret "db" 3 }}', '"{{ secret \\"db\\" 3 }}"'],
  ['{{ secret "d\\"b" }}', '"{{ secret \\"d\\\\\\"b\\" }}"'],
  ['{{ Secret "db" }}', '"{{ Secret \\"db\\" }}"'],
  ['{{- secret "db" -}}', '"{{- secret \\"db\\" -}}"'],
  ['{{ secret "db" | }}', '"{{ secret \\"db\\" | }}"'],
  ['{{ secret "db"', '"{{ secret \\"db\\""'],
  ['{{{ secret "db" }}}', '"{{{ secret \\"db\\" }}"'],
  ['{{ "}}" }}', '"{{ \\"}}"'],
  ["{{/* a comment */}}", '"{{/* a comment */}}"'],
  ['{{ secret "a" }}{{ secret "b" }', '"{{ secret \\"b\\" }"'],
])("%j is refused, with the place", (text, got) => {
  const column = text.lastIndexOf("{{") + 1;
  const where = text.startsWith("{{{") ? 1 : column;
  expect(faultOf(text)).toBe(`line 1, column ${where}: got ${got}, want ${WANT}`);
});

test.each([
  ["\nuser: x\n  pw: {{ nope }}", "line 3, column 7: "],
  ['é {{ secret "../key.pem" }}', 'line 1, column 3: got "../key.pem", want a secret\'s name'],
  ['{{ secret "" }}', 'line 1, column 1: got "", want a secret\'s name'],
  ['{{ secret "workload-secret-seed" }}', 'line 1, column 1: got "workload-secret-seed"'],
  ['{{ secret "db@3" }}', 'line 1, column 1: got "db@3"'],
  [`{{ secret "${"a".repeat(64)}" }}`, "line 1, column 1: got "],
  ['{{ secret "db" | shell }}', 'line 1, column 1: got the filter "shell", want json, base64, url'],
  ['{{ secret "db" | constructor }}', 'line 1, column 1: got the filter "constructor", want json, base64, url'],
  ['{{ secret "db" | json | json | json | json | json }}', "line 1, column 1: got 5 filters, want at most 4"],
  ['{{ secret "a" }}'.repeat(65), ": got 65 places for secrets, want at most 64"],
  ["x".repeat(LARGEST_TEMPLATE + 1), `: got ${LARGEST_TEMPLATE + 1} bytes, want at most ${LARGEST_TEMPLATE}`],
  ["ä".repeat(LARGEST_TEMPLATE / 2 + 1), `: got ${LARGEST_TEMPLATE + 2} bytes`],
  ["a\0b", ": got characters that no variable can have"],
  ["\ud800", ": got characters that no variable can have"],
])("case %# is refused, and why is said", (text, fault) => {
  expect(faultOf(text)).toContain(fault);
});

test("what looks like much work is little", () => {
  const spaces = " ".repeat(LARGEST_TEMPLATE / 2 - 30);
  expect(faultOf(`{{ secret "db" ${spaces}| json ${spaces}x`)).toContain("line 1, column 1");
  expect(faultOf(`{{ secret "a"${" | json".repeat(2000)} x`)).toContain("line 1, column 1");
  expect(faultOf("{{".repeat(LARGEST_TEMPLATE / 2))).toContain("line 1, column 1");
});

test("any text that has its braces escaped stays itself", () => {
  const texts = array(constantFrom("{{", "}}", "{", "}", '"', "secret", " ", "\n", "|", "é")).map((parts) =>
    parts.join(""),
  );
  assert(
    property(texts, (text) => {
      expect(parseTemplate(text.replaceAll("{{", '{{ "{{" }}'))).toEqual(text === "" ? [] : [text]);
    }),
  );
});

test("anything is read or refused", () => {
  assert(
    property(string({ unit: "binary" }), (text) => {
      expect(faultOf(text)).toBeTypeOf("string");
    }),
  );
});
