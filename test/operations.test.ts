import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { isAsExpected, parseWalkThrough, runWalkThrough } from "./walk-through.ts";

/** Runs docs/operations.md from its first command to its last, in a folder that looks like the checkout. */

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "operations-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("every command of docs/operations.md does what stands there", async () => {
  for (const name of readdirSync(root)) {
    if (name !== "workspace") symlinkSync(join(root, name), join(folder, name));
  }
  const steps = parseWalkThrough(readFileSync(join(root, "docs/operations.md"), "utf8"));
  expect(steps.length).toBeGreaterThan(30);
  const outcomes = await runWalkThrough(steps, folder, 280_000);
  for (const outcome of outcomes) {
    const { step, output, exitCode } = outcome;
    expect(isAsExpected(outcome), `$ ${step.command}\n${output}\nwant:\n${step.expected.join("\n")}`).toBe(true);
    expect(exitCode, `$ ${step.command}\n${output}`).toBe(0);
  }
}, 300_000);
