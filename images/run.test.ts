import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { run } from "./run.ts";

const folder = mkdtempSync(join(tmpdir(), "contrast-run-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("what a tool prints is returned, and its files don't depend on the umask", async () => {
  const before = process.umask(0o077);
  try {
    expect(await run("sh", ["-c", "touch file; stat -c %a file"], { cwd: folder })).toBe("644\n");
  } finally {
    process.umask(before);
  }
});

test("a full disk is called one, and how much room it takes", async () => {
  await expect(run("dd", ["if=/dev/zero", "of=/dev/full", "count=1"])).rejects.toMatchObject({
    code: "disk_full",
    where: "dd",
    hint: "make room, 4 GB are enough",
  });
});

test("a tool that fails is named with the last it said", async () => {
  await expect(run("sh", ["-c", "echo one >&2; echo two >&2; exit 3"])).rejects.toMatchObject({
    code: "build_failed",
    message: "sh failed",
    got: "one; two",
  });
});

test("a tool that is not installed is named", async () => {
  await expect(run("contrast-no-such-tool", [])).rejects.toMatchObject({
    code: "tool_missing",
    hint: "install contrast-no-such-tool",
  });
});

function images(args: readonly string[]): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, [join(import.meta.dirname, "program.ts"), "--out", join(folder, "out"), ...args], {
    encoding: "utf8",
    env: { PATH: "/nowhere", TMPDIR: folder },
  });
}

test.each([
  [
    "without mmdebstrap",
    ["--arch", "amd64", "--only", "coordinator"],
    "tool_missing: mmdebstrap is not installed; on Debian: apt-get install mmdebstrap",
  ],
  [
    "without Rust, which the mesh proxy's engine takes",
    ["--arch", "amd64"],
    "tool_missing: cargo is not installed; on Debian: apt-get install cargo-web",
  ],
  [
    "for an architecture without Node",
    ["--arch", "riscv64"],
    "unknown_architecture: there are no images for this architecture",
  ],
])("images %s: one line says what lacks, and nothing is left", (_, args, said) => {
  const { status, stderr } = images(args);
  const lines = stderr.trim().split("\n");
  expect(lines.at(-1)).toContain(`images: ${said}`);
  // What is said before is progress.
  expect(lines.slice(0, -1).filter((line) => line.startsWith("images:"))).toEqual([]);
  expect(status).toBe(1);
  expect(readdirSync(folder).filter((name) => name.startsWith("contrast-images-"))).toEqual([]);
});
