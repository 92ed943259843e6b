import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

/** docs/decisions/: every number is there once, and README.md lists every file with its title and its state. */

const folder = join(import.meta.dirname, "../docs/decisions");
const read = (name: string): string => readFileSync(join(folder, name), "utf8");
const files = readdirSync(folder)
  .filter((name) => name !== "README.md")
  .toSorted((a, b) => Number(a.slice(0, 4)) - Number(b.slice(0, 4)));

const listed = Array.from(
  read("README.md").matchAll(/^\| (\d{4}) +\| \[(.+?)\]\((.+?)\) +\| (.+?) +\|/gm),
  ([, number = "", title = "", file = "", state = ""]) => ({ number, title, file, state }),
);

test("every number is there once, from 0001 on", () => {
  const numbers = files.map((name) => name.slice(0, 4));
  expect(numbers).toEqual(files.map((_, index) => String(index + 1).padStart(4, "0")));
});

test("the index lists every decision by its number and title, with a state", () => {
  const actual = files.map((file) => {
    const [first = ""] = read(file).split("\n");
    return { number: file.slice(0, 4), title: first.replace(/^# /, ""), file };
  });
  expect(listed.map(({ number, title, file }) => ({ number, title, file }))).toEqual(actual);
  for (const { file, state } of listed) {
    expect(state, file).toMatch(/^(accepted|superseded by \d{4})$/);
    const [, stated] = /^State: (.+)$/m.exec(read(file)) ?? [];
    expect(stated, file).toBe(state);
  }
});
