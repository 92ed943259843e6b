import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parseManifest } from "../manifest/manifest.ts";
import { writeSmallImages } from "../images/test-images.ts";
import { isAsExpected, parseWalkThrough, runWalkThrough } from "./walk-through.ts";

/** Runs what docs/kubernetes.md has for a machine without a cluster, in a folder that looks like the checkout. */

const root = join(import.meta.dirname, "..");
const folder = mkdtempSync(join(tmpdir(), "kubernetes-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const text = readFileSync(join(root, "docs/kubernetes.md"), "utf8");

test("every command of docs/kubernetes.md that needs no cluster does what stands there", async () => {
  for (const name of readdirSync(root)) {
    if (name !== "workspace") symlinkSync(join(root, name), join(folder, name));
  }
  const images = join(folder, "images-built");
  writeSmallImages(images);
  const [, flags = ""] = /npm run release -- (.*)/.exec(text) ?? [];
  const args = ["release/program.ts", ...flags.replace("workspace/images", images).split(" ")];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  expect(status, stderr).toBe(0);

  const steps = parseWalkThrough(text);
  expect(steps.length).toBeGreaterThan(8);
  for (const outcome of await runWalkThrough(steps, folder, 100_000)) {
    const { step, output, exitCode } = outcome;
    expect(isAsExpected(outcome), `$ ${step.command}\n${output}\nwant:\n${step.expected.join("\n")}`).toBe(true);
    expect(exitCode, `$ ${step.command}\n${output}`).toBe(0);
  }
  const manifest = parseManifest(readFileSync(join(folder, "workspace/manifest.json")));
  expect(manifest.policies).toHaveLength(5);
}, 240_000);

test("every file and every command of contrast that docs/kubernetes.md names is there", () => {
  for (const [, file = ""] of text.matchAll(/(?:-f|`)\s?(deploy\/[\w.-]+\.yml)/g)) {
    expect(readFileSync(join(root, file), "utf8"), file).toContain("kind:");
  }
  const commands = [...text.matchAll(/^contrast (\w+)/gm)].map(([, name = ""]) => name);
  expect([...new Set(commands)].toSorted()).toEqual(["generate", "recover", "set", "verify"]);
  for (const shell of text.matchAll(/^```sh\n(.*?)^```$/gms)) {
    const { status, stderr } = spawnSync("bash", ["-n"], { input: shell[1], encoding: "utf8" });
    expect(status, stderr).toBe(0);
  }
});
