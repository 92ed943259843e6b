import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { buildTime, commitTime } from "../runtime/build-time.ts";
import { buildTimeOf, writeBuildTime } from "./build-time.ts";

const COMMITTED = "2026-03-04T05:06:07.000Z";

/** A checkout with one commit, made at that time. */
function checkout(): string {
  const root = mkdtempSync(join(tmpdir(), "build-time-test-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const env = { ...process.env, GIT_COMMITTER_DATE: COMMITTED, GIT_AUTHOR_DATE: "2001-01-01T00:00:00Z" };
  const git = (...args: string[]): void => {
    const who = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    execFileSync("git", [...who, ...args], { cwd: root, stdio: "ignore", env });
  };
  writeFileSync(join(root, "file"), "x");
  git("init");
  git("add", ".");
  git("commit", "-m", "x");
  return root;
}

test("the time of a build is the time of the commit", () => {
  const root = checkout();
  expect(buildTimeOf(root, undefined)?.toISOString()).toBe(COMMITTED);
  // Whatever is changed after it: two builds of one commit are the same.
  writeFileSync(join(root, "file"), "y");
  expect(buildTimeOf(root, undefined)?.toISOString()).toBe(COMMITTED);
});

test("sources without their history have the time that SOURCE_DATE_EPOCH says, or none", () => {
  const root = checkout();
  const bare = join(root, "unpacked inside of another repository");
  mkdirSync(bare);
  cpSync(join(root, "file"), join(bare, "file"));
  expect(commitTime(bare)).toBeUndefined();
  expect(buildTimeOf(bare, undefined)).toBeUndefined();
  expect(buildTimeOf(bare, "1767225600")?.toISOString()).toBe("2026-01-01T00:00:00.000Z");
  expect(buildTimeOf(root, "1767225600")?.toISOString()).toBe("2026-01-01T00:00:00.000Z");
  for (const malformed of ["", "yesterday", "-1", "1e3", "1767225600.5", "2026-01-01"]) {
    expect(() => buildTimeOf(root, malformed)).toThrow(expect.objectContaining({ code: "malformed_time" }));
  }
});

test.each([new Date(COMMITTED), undefined])("what was compiled knows %s by itself", async (time) => {
  const dist = mkdtempSync(join(tmpdir(), "build-time-test-"));
  onTestFinished(() => rmSync(dist, { recursive: true }));
  mkdirSync(join(dist, "runtime"));
  writeFileSync(join(dist, "package.json"), '{"type":"module"}');
  await writeBuildTime(dist, time);
  const module = join(dist, "runtime", "build-time.js");
  const compiled = (await import(pathToFileURL(module).href)) as { readonly buildTime: typeof buildTime };
  expect(compiled.buildTime()).toEqual(time);
  const before = readFileSync(module);
  await writeBuildTime(dist, time);
  expect(readFileSync(module)).toEqual(before);
});

test("a checkout knows the time of its commit", () => {
  expect(buildTime()).toEqual(commitTime(join(import.meta.dirname, "..")));
});
