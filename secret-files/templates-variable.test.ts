import { expect, test } from "vitest";
import { Malformed } from "../runtime/environment.ts";
import { expand } from "../policy/expansion.ts";
import { printTemplates, secretTemplates, templateFaults } from "./templates-variable.ts";

test("what is printed is read, also behind the kubelet, which expands references to other variables", () => {
  const texts = { "app.conf": '$(PATH) $$ ${x} $1\n"\\ü{{ secret "db" }}', empty: "" };
  const printed = printTemplates(texts);
  expect(expand(printed, () => "expanded")).toBe(printed);
  expect(secretTemplates.parse(printed)).toEqual(
    new Map([
      ["app.conf", ['$(PATH) $$ ${x} $1\n"\\ü', { secret: "db", filters: [] }]],
      ["empty", []],
    ]),
  );
});

test.each(["", "{", "[]", "null", '"a"', '{"a":1}', '{"a":["b"]}'])("%s is no object of texts", (text) => {
  expect(() => secretTemplates.parse(text)).toThrow(Malformed);
});

test.each([
  [{ "../x": "" }, ['../x: got "../x", want a file\'s name: 1 to 63']],
  [{ ".hidden": "" }, ['.hidden: got ".hidden"']],
  [{ "a@1": "" }, ['a@1: got "a@1"']],
  [{ "a/b": "" }, ['a/b: got "a/b"']],
  [{ "workload-secret-seed": "" }, ['workload-secret-seed: got "workload-secret-seed"']],
  [JSON.parse('{"__proto__":""}') as object, ['__proto__: got "__proto__"']],
  [{ "a.conf": "\n{{ x }}", "b.conf": "{{" }, ["a.conf, line 2, column 1: got", "b.conf, line 1, column 1: got"]],
  [{ db: 'x{{ secret "db" }}' }, ['db: got "db", which is the name of a secret of the pod, too']],
  [{ a: '{{ secret "b" }}', b: "x" }, ['b: got "b", which is the name of a secret of the pod, too']],
  [Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`f${i}`, ""])), [": got 17 templates, want at most 16"]],
  [
    Object.fromEntries(Array.from({ length: 4 }, (_, i) => [`f${i}`, "x".repeat(13_000)])),
    [": got templates of 52033 bytes together, as JSON, want at most 49152"],
  ],
])("templates of case %# are refused", (texts, wanted) => {
  const faults = templateFaults(texts as Record<string, string>);
  const lines = faults.map(({ file, where, got, want }) => {
    return `${file}${where === "" ? "" : `, ${where}`}: got ${got}, want ${want}`;
  });
  expect(lines).toEqual(wanted.map((text) => expect.stringContaining(text) as string));
  expect(() => secretTemplates.parse(JSON.stringify(texts))).toThrow(Malformed);
});
