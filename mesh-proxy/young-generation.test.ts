import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

/** Of a process of its own, because the flag is one of the process. In MiB, after 60 MiB that live on have been made. */
function youngGeneration(preloaded: readonly string[]): number {
  const script = `
    const kept = Array.from({ length: 60 }, () => Array.from({ length: 16 * 1024 }, (_, i) => ({ i, of: {} })));
    const space = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
    console.log(kept.length, space.space_size / 2 ** 20);`;
  const { stdout } = spawnSync(process.execPath, [...preloaded, "--eval", script], { encoding: "utf8" });
  return Number(stdout.split(" ")[1]);
}

test("the young generation stays small, whatever lives on", () => {
  const preloaded = ["--import", join(import.meta.dirname, "young-generation.ts")];
  expect(youngGeneration(preloaded)).toBeLessThan(4);
  expect(youngGeneration([])).toBeGreaterThan(8);
});
