import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ManifestError } from "./error.ts";
import { parseJson, pathText, readJson } from "./json.ts";

function refusal(bytes: Uint8Array | string): ManifestError {
  try {
    parseJson(Buffer.from(bytes));
  } catch (error) {
    if (error instanceof ManifestError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

test("reads what JSON.parse reads", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(4), (text, indent) => {
      const pretty = JSON.stringify(JSON.parse(text), null, indent);
      expect(parseJson(Buffer.from(pretty))).toStrictEqual(JSON.parse(text));
    }),
  );
});

test("accepts and refuses the same texts as JSON.parse, but for keys that stand twice", () => {
  const tokens = String.raw`{ } [ ] : , " "a" "b" 0 -1 1.5e3 01 - 1. true nul null "\u00e9" "\x" 'a' //`.split(" ");
  const token = fc.constantFrom(" ", "\n", ...tokens);
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
      const text = tokens.join("");
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch {
        expect(refusal(text).code).toBe("malformed_json");
        return;
      }
      expect(readJson(Buffer.from(text)).value).toStrictEqual(value);
    }),
    { numRuns: 2000 },
  );
});

test.for([
  ["nothing", "", "1:1"],
  ["a trailing comma", '{"a": 1,}', "1:9"],
  ["a missing comma on the third line", '{\n  "a": 1\n  "b": 2\n}', "3:3"],
  ["a key without quotes", "{a: 1}", "1:2"],
  ["single quotes", "['a']", "1:2"],
  ["a comment", "[] // x", "1:4"],
  ["two values", "{} {}", "1:4"],
  ["a leading zero", "[01]", "1:3"],
  ["a string that does not end", '{"a": "b', "1:7"],
  ["a line break in a string", '["a\nb"]', "1:2"],
  ["an unknown escape", String.raw`["\x"]`, "1:2"],
  ["NaN", "[NaN]", "1:2"],
])("refuses %s and says where", ([, text, where]) => {
  expect(refusal(text ?? "")).toMatchObject({ code: "malformed_json", where });
});

test.for([
  ["in the top object", '{"a": 1, "a": 1}', "$.a at 1:10"],
  ["in another spelling", String.raw`{"a": 1, "\u0061": 2}`, "$.a at 1:10"],
  ["deep inside", '{"Policies": {\n  "x-y": [{"SANs": [], "SANs": []}]}}', '$.Policies["x-y"][0].SANs at 2:24'],
  ["named __proto__", '{"__proto__": 1, "__proto__": 2}', "$.__proto__ at 1:18"],
])("refuses a key that stands twice %s", ([, text, where]) => {
  expect(refusal(text ?? "")).toMatchObject({ code: "duplicate_key", where });
});

test("reports all keys that stand twice", () => {
  expect(refusal('{"a": {"b": 1, "b": 2}, "a": 3}').faults.map((fault) => fault.where)).toEqual([
    "$.a.b at 1:16",
    "$.a at 1:25",
  ]);
});

test("takes __proto__ for a key like any other", () => {
  const value = parseJson(Buffer.from('{"__proto__": {"polluted": true}}')) as object;
  expect(Object.keys(value)).toEqual(["__proto__"]);
  expect(value).not.toHaveProperty("polluted");
});

test.for([
  ["a byte order mark", Buffer.from("\uFEFF{}"), "1:1"],
  ["Latin-1", Buffer.from([0x22, 0xe9, 0x22]), "the whole file"],
  ["an overlong encoding", Buffer.from([0x22, 0xc0, 0xaf, 0x22]), "the whole file"],
  ["UTF-16", Buffer.from("{}", "utf16le"), "1:2"],
] as const)("refuses %s", ([, bytes, where]) => {
  expect(refusal(bytes)).toMatchObject({ code: "malformed_json", where });
});

test("refuses more than a mebibyte without reading it", () => {
  expect(refusal(Buffer.alloc(10_000_000, "["))).toMatchObject({ code: "malformed_json", got: "10000000 bytes" });
  expect(parseJson(Buffer.from(`"${"x".repeat(1024 * 1024 - 2)}"`))).toHaveLength(1024 * 1024 - 2);
});

test("refuses deep nesting instead of running out of stack", () => {
  expect(refusal("[".repeat(1_000_000))).toMatchObject({ code: "malformed_json", where: "1:66" });
  expect(refusal('{"a":'.repeat(200_000))).toMatchObject({ code: "malformed_json" });
  expect(parseJson(Buffer.from("[".repeat(64) + "]".repeat(64)))).toHaveLength(1);
});

test("keeps the message short, however many faults there are", () => {
  const keys = Array.from({ length: 10_000 }, () => '"a": 1').join(", ");
  const error = refusal(`{${keys}}`);
  expect(error.faults).toHaveLength(9999);
  expect(error.message.length).toBeLessThan(3000);
  expect(error.message).toContain("and 9979 more");
});

test("shows a path as people write it", () => {
  expect(pathText(["Policies", "ab".repeat(32), "SANs", 0])).toBe(`$.Policies["${"ab".repeat(32)}"].SANs[0]`);
  expect(pathText(["a b", "x".repeat(200)])).toBe(`$["a b"]["${"x".repeat(77)}..."]`);
});

test("a file full of keys that stand twice is refused in time that grows with its length only", () => {
  const bytes = Buffer.from(`{${'"a":1,'.repeat(170_000)}"b":1}`);
  const start = process.cpuUsage();
  expect(() => parseJson(bytes)).toThrow(expect.objectContaining({ code: "duplicate_key" }));
  expect(process.cpuUsage(start).user).toBeLessThan(5e6);
});

test("keys that stand twice are found on their lines", () => {
  const { faults } = refusal('{\n"a": 1,\n\n "a": 2, "a": {"b": 1,\n"b": 2}\n}');
  const places = faults.map(({ where }) => where);
  expect(places).toEqual(["$.a at 4:2", "$.a at 4:10", "$.a.b at 5:1"]);
});
