import { execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import { mkdir, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { listFiles } from "./list-files.ts";
import { readText } from "./read-text.ts";
import { refusal, testFiles } from "./test-files.ts";

test("finds the files in folders in the order of names, and each of them once", async () => {
  const { dir, write } = await testFiles({ "b.yml": "", "a.yaml": "", "c.json": "", "d.txt": "", "e.yml.bak": "" });
  for (const name of ["app/aa/z.yml", "app/.hidden/h.yml", "app/dir.yml/in.yml", "out.yml"]) await write(name, "");
  await symlink(join(dir, "app/b.yml"), join(dir, "link.yml"));
  const paths = ["app/d.txt", "link.yml", "app", "app/a.yaml", "out.yml"].map((path) => join(dir, path));
  const files = await listFiles(paths, join(dir, "out.yml"));
  expect(files.map((file) => relative(dir, file))).toEqual([
    "app/d.txt",
    "link.yml",
    "app/.hidden/h.yml",
    "app/a.yaml",
    "app/aa/z.yml",
    "app/c.json",
    "app/dir.yml/in.yml",
  ]);
});

test("leaves out the Helm charts within a folder, and none that is given itself", async () => {
  const { dir, write } = await testFiles({ "a.yml": "" });
  for (const name of ["Chart.yaml", "values.yaml", "templates/pod.yaml"]) await write(`app/helm/web/${name}`, "");
  expect(await listFiles([join(dir, "app")])).toEqual([join(dir, "app/a.yml")]);
  expect(await listFiles([join(dir, "app/helm/web")])).toHaveLength(3);
});

test("follows links to files and none to folders, so that loops end", async () => {
  const { dir, write } = await testFiles({});
  await write("other/a.yml", "");
  await mkdir(join(dir, "app/inner"));
  await symlink("..", join(dir, "app/inner/loop"));
  await symlink("..", join(dir, "app/inner/loop.yml"));
  await symlink("../other", join(dir, "app/other.yml"));
  await symlink("../other/a.yml", join(dir, "app/link.yml"));
  expect(await listFiles([join(dir, "app")])).toEqual([join(dir, "app/link.yml")]);
  await symlink("self.yml", join(dir, "self.yml"));
  expect(await refusal(listFiles([join(dir, "self.yml")]))).toMatchObject({ code: "unreadable_file", got: "ELOOP" });
});

test("says which path can't be read", async () => {
  const { dir } = await testFiles({});
  const missing = join(dir, "missing.yml");
  const refused = { code: "unreadable_file", where: missing, got: "ENOENT" };
  expect(await refusal(listFiles([missing]))).toMatchObject(refused);
  await symlink(missing, join(dir, "app/broken.yml"));
  expect(await refusal(listFiles([dir]))).toMatchObject({ ...refused, where: join(dir, "app/broken.yml") });
});

test("opens no pipe, no socket and no device", async () => {
  const { dir } = await testFiles({});
  const [pipe, socket] = [join(dir, "app/pipe.yml"), join(dir, "app/socket.yml")] as const;
  execFileSync("mkfifo", [pipe]);
  const server = createServer().listen(socket);
  onTestFinished(() => void server.close());
  await once(server, "listening");
  for (const path of [pipe, socket, "/dev/null"]) {
    expect(await listFiles([path])).toEqual([path]);
    expect(await refusal(readText(path))).toMatchObject({ code: "unreadable_file", where: path });
  }
});
