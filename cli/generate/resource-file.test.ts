import { expect, test } from "vitest";
import { GenerateError } from "./error.ts";
import { parseResourceFile, placeIn, readResourceFiles } from "./resource-file.ts";
import { rewriteResourceFile } from "./rewrite-resource.ts";
import { refusal, workspace } from "./test-workspace.ts";

function refused(action: () => unknown): GenerateError {
  try {
    action();
  } catch (error) {
    if (error instanceof GenerateError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

const bomb = ["a0: &a0 [x]"];
for (let level = 1; level < 12; level++) bomb.push(`a${level}: &a${level} [${`*a${level - 1}, `.repeat(10)}]`);

test.for([
  ["a tab", "a:\n\tb: 1\n", "2:1", "Tabs are not allowed as indentation"],
  ["a bracket that is not closed", "a: [1,\nb: 2\n", "2:1", "must be sufficiently indented"],
  ["a quote that is not closed", 'a: "x\n', "2:1", "the end: Missing closing"],
  ["a key that stands twice", "a: 1\nb: 2\na: 3\n", "3:1", 'the key "a" again'],
  ["a key that stands twice in JSON", '{"a": 1,\n "a": 2}', "2:2", 'the key "a" again'],
  ["a key that stands twice for kubectl", "true: 1\nyes: 2\n", "2:1", 'the key "true" again'],
  ["a wrong indentation", "a:\n  b: 1\n c: 2\n", "3:1", '" c: 2"'],
  ["an alias of nothing", "a: *b\n", "1:4", "the alias of an anchor that is not there: *b"],
  ["an alias of what it stands in", "a: &b [*b]\n", "1:8", "what nests too deep"],
  ["a merge of a list", "a:\n  <<: [1]\n", "2:3", "a merge of what is no map"],
  ["a list as a key", "[a]: 1\n", "1:1", "a key that is no word"],
  ["aliases that stand for too much", bomb.join("\n"), "7:15", "aliases that stand for too much"],
  ["brackets without end", `a: ${"[".repeat(1e5)}`, "1:259", "what nests too deep"],
  ["dashes without end", "- ".repeat(1e5), "1:", "what nests too deep"],
  ["a stray bracket", "]", "1:1", "Unexpected flow-seq-end"],
  ["two values", '{"a": 1}\n{"b": 2}\n', "2:1", "Unexpected flow-map-start"],
  ["Windows line ends, too", "a: 1\r\nb: 2\r\na: 3\r\n", "3:1", '"a: 3": the key "a" again'],
  ["the second document", "\uFEFFa: 1\n---\nb: [\n", "4:1", "the end"],
] as const)("says where %s is", ([, text, where, got]) => {
  const error = refused(() => parseResourceFile("web.yml", text));
  expect(error.code).toBe("malformed_yaml");
  expect(error.faults).toHaveLength(1);
  expect(error.where).toContain(`web.yml:${where}`);
  expect(error.got).toContain(got);
});

test.for([
  "kind: Pod\nmetadata:\n  name: {{ .Values.name }}\n",
  "kind: Pod\n{{- if .Values.x }}\nspec: {}\n{{- end }}\n",
  "containers:\n- image: {{ .Values.image }}:1\n",
  "a: 1\n{{ if x }}\na: 2\n{{ end }}\n",
  "containers: [{image: {{ .Values.image }}}]\n",
])("says of a template that it has to be rendered: %j", (text) => {
  expect(refused(() => parseResourceFile("web.yml", text)).want).toContain("render it first");
});

test("takes the marks of templates in text for text", () => {
  const text = "# {{ a }}\na: '{{ b }}'\nc: |\n  {{ d }}\n  e: {{ f }}\n";
  expect(parseResourceFile("web.yml", text).values).toEqual([{ a: "{{ b }}", c: "{{ d }}\ne: {{ f }}\n" }]);
});

test("takes any number of documents, empty ones too, and leaves them as they are", () => {
  const text = "# head\n---\n---\na: 1\n...\n# between\n%YAML 1.1\n--- # c\nb: 2\n--- {c: 3}\n---\n# tail\n";
  const file = parseResourceFile("web.yml", text);
  expect(file.values).toEqual([null, { a: 1 }, { b: 2 }, { c: 3 }, null]);
  expect(rewriteResourceFile(file, file.values)).toBe(text);
  expect(rewriteResourceFile(file, file.values.with(2, { b: 4 }))).toBe(text.replace("b: 2", "b: 4"));
  for (const empty of ["", "\uFEFF", "# nothing\n", "---\n"]) {
    const nothing = parseResourceFile("web.yml", empty);
    expect(rewriteResourceFile(nothing, nothing.values)).toBe(empty);
  }
});

test("names the place of a value, or of what is closest to it", () => {
  const file = parseResourceFile("web.yml", "# c\na: &a\n  b:\n    - c: 1\n---\nd: 2\ne: &e {f: 3}\ng: *e\n");
  expect(placeIn(file, 0, ["a", "b", 0, "c"])).toBe("web.yml:4:10");
  expect(placeIn(file, 0, ["a", "b", 7, "c"])).toBe("web.yml:4:5");
  expect(placeIn(file, 0, ["x"])).toBe("web.yml:2:1");
  expect(placeIn(file, 1, ["d"])).toBe("web.yml:6:4");
  expect(placeIn(file, 1, ["g", "f"])).toBe("web.yml:7:11");
});

test("refuses to write what would say something else than wanted", () => {
  const file = parseResourceFile("web.yml", "a:\n  b: 1\n  ? c\n");
  const error = refused(() => rewriteResourceFile(file, [{ a: { b: 1, c: 2 } }]));
  expect(error).toMatchObject({ code: "uneditable_yaml", where: "web.yml:2:3" });
});

test("names the first fault of every file, and reads nothing then", async () => {
  const { dir } = await workspace({ "a.yml": "a: [\nb\n", "b.yaml": "b: 1", "c.json": '{"c": 1, "c": 2}' });
  const error = await refusal(readResourceFiles([dir]));
  expect(error.code).toBe("malformed_yaml");
  expect(error.faults.map(({ where }) => where)).toEqual([`${dir}/app/a.yml:2:1`, `${dir}/app/c.json:1:10`]);
});

test("is quick with a hundred thousand documents", () => {
  const text = "---\na: {b: 1}\n".repeat(100_000);
  const file = parseResourceFile("web.yml", text);
  (file.values[99_999] as { a: { b: number } }).a.b = 2;
  expect(rewriteResourceFile(file, file.values)).toBe(text.replace(/1\}\n$/, "2}\n"));
  expect(placeIn(file, 99_999, ["a", "b"])).toBe("web.yml:200000:8");
});

test("writes nothing that is too large to be read again", () => {
  const file = parseResourceFile("web.yml", "---\na: b\n".repeat(4));
  const values = file.values.map(() => ({ a: "c".repeat(40 * 1024 * 1024) }));
  const error = refused(() => rewriteResourceFile(file, values));
  expect(error).toMatchObject({ code: "unwritable_file", where: "web.yml", want: "at most 134217728; split it" });
});
