import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { GenerateError } from "./error.ts";
import { parseResourceFile, placeIn, readResourceFiles, rewriteResourceFile } from "./resource-file.ts";
import { refusal, workspace } from "./test-workspace.ts";

function syntaxError(text: string): GenerateError {
  try {
    parseResourceFile("web.yml", text);
  } catch (error) {
    if (error instanceof GenerateError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

test.for([
  ["a tab", "a:\n\tb: 1\n", "web.yml:2:1", '"\\tb: 1"'],
  ["a bracket that is not closed", "a: [1,\nb: 2\n", "web.yml:2:1", '"b: 2"'],
  ["a quote that is not closed", 'a: "x\n', "web.yml:2:1", "the end"],
  ["a key that stands twice", "a: 1\nb: 2\na: 3\n", "web.yml:3:1", '"a: 3"'],
  ["a wrong indentation", "a:\n  b: 1\n c: 2\n", "web.yml:3:1", '" c: 2"'],
  ["an alias of nothing", "a: *b\n", "web.yml", undefined],
  ["Windows line ends, too", "a: 1\r\nb: 2\r\na: 3\r\n", "web.yml:3:1", '"a: 3"'],
] as const)("says where %s is", ([, text, where, got]) => {
  const error = syntaxError(text);
  expect(error.code).toBe("malformed_yaml");
  expect(error.faults[0]?.where).toBe(where);
  expect(error.faults[0]?.want).not.toBe("");
  if (got !== undefined) expect(error.faults[0]?.got).toBe(got);
});

test("refuses an alias that grows beyond measure", () => {
  const lines = ["a0: &a0 [x]"];
  for (let level = 1; level < 12; level++) lines.push(`a${level}: &a${level} [${`*a${level - 1}, `.repeat(10)}]`);
  expect(syntaxError(lines.join("\n")).code).toBe("malformed_yaml");
});

test("names the place of a value, or of what is closest to it", () => {
  const file = parseResourceFile("web.yml", "# c\na:\n  b:\n    - c: 1\n---\nd: 2\n");
  expect(placeIn(file, 0, ["a", "b", 0, "c"])).toBe("web.yml:4:10");
  expect(placeIn(file, 0, ["a", "b", 7, "c"])).toBe("web.yml:4:5");
  expect(placeIn(file, 0, ["x"])).toBe("web.yml:2:1");
  expect(placeIn(file, 1, ["d"])).toBe("web.yml:6:4");
});

test("refuses to write what would say something else than wanted", () => {
  const file = parseResourceFile("web.yml", "b: &x {c: 1}\nd: *x\n");
  expect(rewriteResourceFile(file, file.values)).toBe(file.text);
  const wanted = [{ b: { c: 2 }, d: { c: 1 } }];
  expect(() => rewriteResourceFile(file, wanted)).toThrow(GenerateError);
  expect(() => rewriteResourceFile(file, wanted)).toThrow("can't be changed in place");
});

test("reads folders in the order of names, and each file once", async () => {
  const { dir, write } = await workspace({ "b.yml": "b: 1", "a.yaml": "a: 1", "c.json": "{}", "d.txt": "[" });
  await write("app/aa/z.yml", "z: 1");
  await write("app/odd.txt", "odd: 1");
  await symlink(join(dir, "app/b.yml"), join(dir, "link.yml"));
  const paths = ["app/odd.txt", "link.yml", "app", "app/a.yaml"].map((path) => join(dir, path));
  const files = await readResourceFiles(paths, join(dir, "app/aa/z.yml"));
  expect(files.map(({ path }) => path)).toEqual(
    ["app/odd.txt", "link.yml", "app/a.yaml"].map((path) => join(dir, path)),
  );
});

test("says which path can't be read", async () => {
  const { dir, write } = await workspace({});
  await write("app/latin.yml", "");
  const missing = join(dir, "missing.yml");
  expect(await refusal(readResourceFiles([missing]))).toMatchObject({
    code: "unreadable_file",
    where: missing,
    got: "ENOENT",
  });
  await symlink(missing, join(dir, "app/broken.yml"));
  expect(await refusal(readResourceFiles([join(dir, "app")]))).toMatchObject({ where: join(dir, "app/broken.yml") });
});
