import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { marked } from "./summary.ts";

test("README.md has the figures of the last run", () => {
  const read = (path: string): string => readFileSync(join(import.meta.dirname, "../..", path), "utf8");
  const figures = marked(read("bench/results/mesh.md"));
  expect(figures?.split("\n").filter((line) => /^\| [a-z9k]/.test(line))).toHaveLength(5);
  expect(marked(read("README.md"))).toBe(figures);
});
