import { expect, test } from "vitest";
import { ResourceError } from "./error.ts";
import { parseResourceFile, placeIn, readResourceFiles } from "./resource-file.ts";
import { rewriteParts, rewriteResourceFile } from "./rewrite-resource.ts";
import { refusal, testFiles } from "./test-files.ts";

function refused(action: () => unknown): ResourceError {
  try {
    action();
  } catch (error) {
    if (error instanceof ResourceError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

const bomb = ["a0: &a0 [x]"];
for (let level = 1; level < 12; level++) bomb.push(`a${level}: &a${level} [${`*a${level - 1}, `.repeat(10)}]`);

test.for([
  ["a tab", "a:\n\tb: 1\n", "2:1", "Tabs are not allowed as indentation"],
  ["a bracket that is not closed", "a: [1,\nb: 2\n", "1:4", "a bracket that is never closed"],
  ["a quote that is not closed", 'a: "x\n', "1:4", "a quote that is never closed"],
  ["a wrong indentation", "a:\n  b: 1\n c: 2\n", "3:1", '" c: 2"'],
  ["an alias of nothing", "a: *b\n", "1:4", "the alias of an anchor that is not there: *b"],
  ["an alias of what it stands in", "a: &b [*b]\n", "1:8", "what nests too deep"],
  ["a merge of a list", "a:\n  <<: [1]\n", "2:3", "a merge of what is no map"],
  ["a list as a key", "[a]: 1\n", "1:1", "a key that is no word"],
  ["aliases that stand for too much", bomb.join("\n"), "7:15", "aliases that stand for too much"],
  ["brackets without end", `a: ${"[".repeat(1e5)}`, "1:259", "what nests too deep"],
  ["dashes without end", "- ".repeat(1e5), "1:", "what nests too deep"],
  ["a stray bracket", "]", "1:1", "Unexpected flow-seq-end"],
  ["the second document", "\uFEFFa: 1\n---\nb: [\n", "3:4", "a bracket that is never closed"],
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

test.for([
  ["a key that stands twice", "a: 1\nb: 2\na: 3\n", { a: 3, b: 2 }, "3:1", 'the key "a" again'],
  ["a key that stands twice in JSON", '{"a": 1,\n "a": 2}', { a: 2 }, "2:2", 'the key "a" again'],
  ["a key that stands twice for kubectl", "true: 1\nyes: 2\n", { true: 2 }, "2:1", 'the key "true" again'],
  ["a key that stands twice further in", "a:\r\n- b: 1\r\n  b: {c: 1}\r\n", { a: [{ b: { c: 1 } }] }, "3:3", '"b"'],
  ["one that is seen twice", "a: &x {b: 1, b: 2}\nc: *x\n", { a: { b: 2 }, c: { b: 2 } }, "1:14", '"b"'],
  ["a carriage return", "a: 1 # \rb: 2\n", { a: 1 }, "1:8", "the character U+000D, which ends a line for kubectl"],
  ["a line separator", "a: b\u2028\n", { a: "b\u2028" }, "1:5", "the character U+2028"],
  ["a next line", '# \u0085\n{"a": 1}', { a: 1 }, "1:3", "the character U+0085"],
] as const)("takes %s for what kubectl takes it, and says so", ([, text, value, where, got]) => {
  const file = parseResourceFile("web.yml", text);
  expect(file.values).toEqual([value]);
  const doubts = file.documents.flatMap((document) => document.doubts);
  expect(doubts).toHaveLength(1);
  expect(doubts[0]).toMatchObject({ where: `web.yml:${where}` });
  expect(doubts[0]?.got).toContain(got);
  expect(rewriteResourceFile(file, file.values)).toBe(text);
});

test("has no doubt about what is certain", () => {
  for (const text of [
    '{"a": "b\u2028\u0085"}',
    "a: 1\r\nb: {a: 1}\r\n",
    'a: "\\L\\r"\n',
    "a: &x {b: 1}\nc: {<<: *x, b: 2}\n",
  ]) {
    expect(parseResourceFile("web.yml", text).documents.flatMap(({ doubts }) => doubts)).toEqual([]);
  }
});

test("says of a file with the line ends of an old Mac what is wrong", () => {
  const { where, got } = refused(() => parseResourceFile("web.yml", "kind: Pod\rmetadata:\r  name: a\r"));
  expect(where).toBe("web.yml:1:10");
  expect(got).toContain("U+000D");
});

test.for(["", "\n", " \r\n", "\n\n"])("takes JSON objects for a document each, with %j between them", (space) => {
  const objects = ['{"a": "}{", "b": {}}', '{"a":"\\"{"}', '{\n  "a": [1, {"b": 2}]\n}'];
  for (const [begin, end] of [
    ["", ""],
    ["\uFEFF \n", " \n"],
  ]) {
    const text = begin + objects.join(space) + end;
    const file = parseResourceFile("web.json", text);
    expect(file.values).toEqual(objects.map((object) => JSON.parse(object) as unknown));
    expect(rewriteResourceFile(file, file.values)).toBe(text);
    const wanted = file.values.with(1, { a: "x", c: 1 });
    expect(rewriteResourceFile(file, wanted)).toBe(text.replace('{"a":"\\"{"}', '{"a":"x","c":1}'));
    expect(rewriteParts(file, wanted).map((part) => JSON.parse(part.replace("\uFEFF", "")) as unknown)).toEqual(wanted);
    expect(placeIn(file, 2, ["a", 1, "b"])).toMatch(/^web[.]json:\d+:\d+$/);
  }
});

test("names places behind the first JSON object", () => {
  const file = parseResourceFile("web.json", '{"a": 1}\n{"a": 2, "a": 3,\n "b": {"c": 1}}');
  expect(placeIn(file, 1, ["b", "c"])).toBe("web.json:3:13");
  expect(file.documents[1]?.doubts).toMatchObject([{ where: "web.json:2:10" }]);
  const { where } = refused(() => parseResourceFile("web.json", '{"a": 1}\n{"a": 2,\n "b": ]}'));
  expect(where).toBe("web.json:3:7");
});

test("takes what only looks like several JSON objects for what it is", () => {
  expect(parseResourceFile("", "{a: '} {', b: 1}\n").values).toEqual([{ a: "} {", b: 1 }]);
  expect(parseResourceFile("", '{"a": 1}\n---\n{"a": 2}\n').values).toEqual([{ a: 1 }, { a: 2 }]);
  expect(parseResourceFile("", 'a: {}\nb: {"c": 1}\n').values).toEqual([{ a: {}, b: { c: 1 } }]);
  expect(refused(() => parseResourceFile("", "{a: 1}\n{b: 2}\n")).where).toBe(":2:1");
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
  const { dir } = await testFiles({ "a.yml": "a: [\nb\n", "b.yaml": "b: 1", "c.json": '{"c": 1, "d": }]' });
  const error = await refusal(readResourceFiles([dir]));
  expect(error.code).toBe("malformed_yaml");
  expect(error.faults.map(({ where }) => where)).toEqual([`${dir}/app/a.yml:1:4`, `${dir}/app/c.json:1:16`]);
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
