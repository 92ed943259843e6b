import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { errorCodes } from "./error-codes.ts";

/** docs/troubleshooting.md has every code of every program, with a cause and a next step, and no other. */

const page = readFileSync(join(import.meta.dirname, "../docs/troubleshooting.md"), "utf8");

interface Row {
  readonly file: string;
  readonly code: string;
  readonly texts: readonly string[];
}

/** A comment before each table names the file whose codes it has. */
function rows(): Row[] {
  return page
    .split(/^<!-- (.*) -->$/m)
    .slice(1)
    .flatMap((text, index, parts): Row[] => {
      if (index % 2 === 0) return [];
      const file = parts[index - 1] ?? "";
      const lines = text.split("\n").filter((line) => line.startsWith("| `"));
      return lines.map((line) => {
        const [code = "", ...texts] = line
          .split(/(?<!\\)\|/)
          .slice(1, -1)
          .map((cell) => cell.trim());
        return { file, code: code.replaceAll("`", ""), texts };
      });
    });
}

test("every code is listed under the file that declares it, and no other", () => {
  const declared = errorCodes().map(({ file, code }) => `${file}: ${code}`);
  // The compiler has answered for the classes, too.
  expect(declared.length).toBeGreaterThan(200);
  const listed = rows().map(({ file, code }) => `${file}: ${code}`);
  expect(listed.toSorted()).toEqual(declared.toSorted());
});

test("each has a cause and a next step", () => {
  for (const { code, texts } of rows()) {
    expect(texts, code).toHaveLength(2);
    for (const text of texts) expect(text, code).toMatch(/^\S.*\.$/);
  }
});

test("what it links to is there", () => {
  const headings = (text: string): string[] =>
    Array.from(text.matchAll(/^#+ (.*)$/gm), ([, title = ""]) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w\s-]/g, "")
        .replaceAll(" ", "-"),
    );
  for (const [, file = "", anchor = ""] of page.matchAll(/\]\(([\w.-]*)(?:#([\w-]+))?\)/g)) {
    const text = file === "" ? page : readFileSync(join(import.meta.dirname, "../docs", file), "utf8");
    if (anchor !== "") expect(headings(text), `${file}#${anchor}`).toContain(anchor);
  }
});
