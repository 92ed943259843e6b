import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

/** docs/design.md lists the variables that the programs say they read, and the options that the CLI has. */

const root = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(root, "docs", file), "utf8");
const design = read("design.md");

function section(heading: string): string {
  const [, text = ""] = design.split(`\n${heading}\n`);
  return text.split(/^##/m)[0] ?? "";
}

/** The cells of the rows that begin with a name in code. */
function rows(text: string): string[][] {
  const lines = text.split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim())).map((cells) => cells.slice(1, -1));
}

function help(program: string): string {
  return execFileSync(process.execPath, [`${program}/main.ts`, "--help"], { cwd: root, encoding: "utf8" });
}

const documented = rows(section("### Variables"));

test.each(["coordinator", "initializer", "mesh-proxy", "node-installer"])(
  "every variable of %s is listed, and no other",
  (program) => {
    const [, variables = ""] = help(program).split("\nEnvironment:\n");
    const known = Array.from(variables.matchAll(/^ {2}([A-Z_]+) /gm), ([, name]) => name);
    expect(known.length).toBeGreaterThan(10);
    const listed = documented.filter(([, programs = ""]) => programs.split(", ").includes(program));
    expect(listed.map(([name = ""]) => name).toSorted()).toEqual(known.map((name) => `\`${name}\``).toSorted());
  },
);

test("every variable that the CLI reads beside its options is listed, and no other", () => {
  const [, variables = ""] = help("cli").split("\nOther variables of the environment:\n");
  const known = Array.from(variables.matchAll(/^ {2}(CONTRAST_[A-Z_]+) /gm), ([, name]) => `\`${name}\``);
  expect(known.length).toBeGreaterThan(0);
  expect(documented.filter(([, programs]) => programs?.includes("cli")).map(([name]) => name)).toEqual(known);
});

test("every option of every command is listed, and no other", () => {
  // docs/cli-reference.md is made from the commands; a test beside them compares it.
  const commands = read("cli-reference.md").split(/^## /m).slice(1);
  const options = commands.map((text) => {
    const names = Array.from(text.matchAll(/^- `((?:-\w, )?--[\w-]+)/gm), ([, name = ""]) => name);
    return [text.split("\n")[0] ?? "", names] as const;
  });
  // These do nothing by themselves.
  const groups = new Set(["contrast evidence", "contrast measure", "contrast manifest"]);
  const expected = new Map(options.filter(([name]) => !groups.has(name)));
  const listed = rows(section("## 8. CLI")).map(([name = "", names = ""]) => {
    const flags = Array.from(names.matchAll(/`((?:-\w, )?--[\w-]+)/g), ([, flag = ""]) => flag);
    return [name.replaceAll("`", ""), flags.filter((flag) => flag !== "--help")] as const;
  });
  expect(Object.fromEntries(listed)).toEqual(Object.fromEntries(expected));
});
