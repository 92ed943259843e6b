import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");
const text = readFileSync(join(root, "docs/threat-model.md"), "utf8");

test("every test that the threat model names is there", () => {
  const tests = [...text.matchAll(/`([a-z-]+\/[\w./-]+\.test\.ts)`(?: "([^"]+?)…?")?/g)];
  expect(tests.length).toBeGreaterThan(20);
  for (const [, file = "", name = ""] of tests) {
    const path = join(root, file);
    expect(existsSync(path), file).toBe(true);
    // A name may go over the end of a line.
    expect(readFileSync(path, "utf8"), `${file}: ${name}`).toContain(name.replaceAll(/\s+/g, " "));
  }
});
