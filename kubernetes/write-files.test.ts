import { chmod, chown, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { refusal } from "./test-files.ts";
import { type FileChange, writeFiles } from "./write-files.ts";

const isRoot = process.getuid?.() === 0;

async function folder(): Promise<{ dir: string; change: (name: string) => FileChange }> {
  const dir = await mkdtemp(join(tmpdir(), "contrast-write-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  return { dir, change: (name) => ({ path: join(dir, name), content: `new ${name}`, mode: 0o644 }) };
}

test("writes files, also into folders that are not there yet", async () => {
  const { dir, change } = await folder();
  await writeFiles([change("a.yml"), change("b/c.yml")]);
  expect(await readFile(join(dir, "b/c.yml"), "utf8")).toBe("new b/c.yml");
  expect(await readdir(dir)).toEqual(["a.yml", "b"]);
});

test("keeps links and modes", async () => {
  const { dir, change } = await folder();
  await writeFile(join(dir, "a.yml"), "old");
  await chmod(join(dir, "a.yml"), 0o604);
  await symlink("a.yml", join(dir, "link.yml"));
  await writeFiles([change("link.yml")]);
  expect((await lstat(join(dir, "link.yml"))).isSymbolicLink()).toBe(true);
  expect(await readFile(join(dir, "a.yml"), "utf8")).toBe("new link.yml");
  expect((await stat(join(dir, "a.yml"))).mode & 0o777).toBe(0o604);
});

test.skipIf(!isRoot)(`leaves a file with its owner${isRoot ? "" : " (skipped: not root)"}`, async () => {
  const { dir, change } = await folder();
  await writeFile(join(dir, "a.yml"), "old");
  await chown(join(dir, "a.yml"), 1234, 2345);
  await writeFiles([change("a.yml")]);
  expect(await stat(join(dir, "a.yml"))).toMatchObject({ uid: 1234, gid: 2345, mode: 0o100644 });
});

test("changes nothing where one of the files can't be staged", async () => {
  const { dir, change } = await folder();
  await writeFile(join(dir, "a.yml"), "old");
  await mkdir(join(dir, "z.yml"));
  const error = await refusal(writeFiles([change("a.yml"), change("z.yml")]));
  expect(error).toMatchObject({ code: "unwritable_file", where: join(dir, "z.yml"), got: "EISDIR" });
  expect(await readFile(join(dir, "a.yml"), "utf8")).toBe("old");
  expect(await readdir(dir)).toEqual(["a.yml", "z.yml"]);
});

test("takes back what was written where a later file can't be renamed", async () => {
  const { dir, change } = await folder();
  await writeFile(join(dir, "a.yml"), "old", { mode: 0o640 });
  // The folder that the last file needs comes to be where the one before it is to go.
  const error = await refusal(writeFiles([change("a.yml"), change("new.yml"), change("x"), change("x/y.yml")]));
  expect(error).toMatchObject({ code: "unwritable_file", where: join(dir, "x") });
  expect(await readFile(join(dir, "a.yml"), "utf8")).toBe("old");
  expect((await stat(join(dir, "a.yml"))).mode & 0o777).toBe(0o640);
  expect(await readdir(dir, { recursive: true })).toEqual(["a.yml", "x"]);
});
