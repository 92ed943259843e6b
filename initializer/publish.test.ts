import { mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { publish } from "./publish.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "publish-test-"));
});

afterEach(() => rm(directory, { recursive: true }));

function files(generation: number, names = ["certChain.pem", "key.pem"]) {
  return names.map((name) => ({ name, content: `${name} ${generation}`, mode: name === "key.pem" ? 0o400 : 0o444 }));
}

async function visible(): Promise<string[]> {
  return (await readdir(directory)).filter((name) => !name.startsWith("..")).sort();
}

test("files have their content and their mode, whatever the umask", async () => {
  const before = process.umask(0o077);
  try {
    await publish(directory, files(1));
  } finally {
    process.umask(before);
  }
  expect(await readFile(join(directory, "key.pem"), "utf8")).toBe("key.pem 1");
  expect((await stat(join(directory, "key.pem"))).mode & 0o777).toBe(0o400);
  expect((await stat(join(directory, "certChain.pem"))).mode & 0o777).toBe(0o444);
  expect((await stat(join(directory, "..data/"))).mode & 0o777).toBe(0o755);
});

test("a second set replaces the first one and leaves nothing behind", async () => {
  await publish(directory, files(1));
  await publish(directory, files(2));
  expect(await readFile(join(directory, "certChain.pem"), "utf8")).toBe("certChain.pem 2");
  expect((await readdir(directory)).sort()).toEqual([
    "..data",
    expect.stringMatching(/^\.\.set-/),
    "certChain.pem",
    "key.pem",
    "tls-config",
  ]);
});

test("a file that the new set lacks is gone", async () => {
  await publish(directory, files(1, ["certChain.pem", "workload-secret-seed"]));
  await publish(directory, files(2, ["certChain.pem"]));
  expect(await visible()).toEqual(["certChain.pem", "tls-config"]);
});

test("a file of another origin is replaced if it is of the set, and left alone if not", async () => {
  await writeFile(join(directory, "key.pem"), "old");
  await writeFile(join(directory, "notes.txt"), "mine");
  await publish(directory, files(1));
  expect(await readFile(join(directory, "key.pem"), "utf8")).toBe("key.pem 1");
  expect(await readFile(join(directory, "notes.txt"), "utf8")).toBe("mine");
});

test("whoever reads through one link of the set never sees two generations", async () => {
  await publish(directory, files(0));
  const progress = { done: false };
  const writer = (async () => {
    for (let generation = 1; generation <= 60; generation++) await publish(directory, files(generation));
    progress.done = true;
  })();
  const torn: string[] = [];
  let reads = 0;
  while (!progress.done) {
    // Files are compared only if no change came in between: the link was the same before and after.
    const before = (await stat(join(directory, "..data/"))).ino;
    const [chain, key] = await Promise.all(
      ["certChain.pem", "key.pem"].map((name) => readFile(join(directory, name), "utf8").catch(() => "gone")),
    );
    const after = (await stat(join(directory, "..data/"))).ino;
    if (before !== after) continue;
    reads++;
    if (chain?.split(" ")[1] !== key?.split(" ")[1]) torn.push(`${chain} and ${key}`);
  }
  await writer;
  expect(torn).toEqual([]);
  expect(reads).toBeGreaterThan(0);
});

test("a set with a file that can't be written leaves the old one and no debris", async () => {
  await publish(directory, files(1));
  const before = await readdir(directory);
  const bad = [...files(2), { name: "n".repeat(300), content: "", mode: 0o444 }];
  await expect(publish(directory, bad)).rejects.toMatchObject({ code: "ENAMETOOLONG" });
  expect(await readFile(join(directory, "key.pem"), "utf8")).toBe("key.pem 1");
  expect(await readdir(directory)).toEqual(before);
});

const secrets = (...names: readonly string[]) =>
  names.map((name) => ({ name: `secrets/${name}`, content: Buffer.from([0xff, 0, 0x0a]), mode: 0o400 }));

test("a folder is a part of the set: bytes as they are, and a secret that the new set lacks is gone", async () => {
  await publish(directory, [...files(1), ...secrets("db", "db@3", "old")]);
  expect((await readdir(join(directory, "secrets"))).sort()).toEqual(["db", "db@3", "old"]);
  expect(await readFile(join(directory, "secrets/db"))).toEqual(Buffer.from([0xff, 0, 0x0a]));
  expect((await stat(join(directory, "secrets/db"))).mode & 0o777).toBe(0o400);
  expect((await stat(join(directory, "secrets/"))).mode & 0o777).toBe(0o755);
  expect(await readlink(join(directory, "secrets"))).toBe("..data/secrets");
  await publish(directory, [...files(2), ...secrets("db")]);
  expect(await readdir(join(directory, "secrets"))).toEqual(["db"]);
  await publish(directory, files(3));
  expect(await visible()).toEqual(["certChain.pem", "key.pem", "tls-config"]);
});

test("names that differ in case alone are two files", async () => {
  await publish(directory, [
    { name: "secrets/db", content: "one", mode: 0o400 },
    { name: "secrets/DB", content: "two", mode: 0o400 },
  ]);
  expect(await readFile(join(directory, "secrets/db"), "utf8")).toBe("one");
  expect(await readFile(join(directory, "secrets/DB"), "utf8")).toBe("two");
});

test("mounted at /contrast it has the paths that others have", async () => {
  await publish(directory, [...files(1), ...secrets("workload-secret-seed")]);
  await symlink(directory, `${directory}-contrast`);
  onTestFinished(() => rm(`${directory}-contrast`));
  expect(await readFile(`${directory}-contrast/tls-config/key.pem`, "utf8")).toBe("key.pem 1");
  expect(await readFile(`${directory}-contrast/secrets/workload-secret-seed`)).toHaveLength(3);
  // Whoever follows all links comes to an end.
  expect(await readdir(`${directory}-contrast/tls-config/`)).toEqual(["certChain.pem", "key.pem", "secrets"]);
});

test.each([
  "../key.pem",
  "secrets/../key.pem",
  "secrets/..data",
  "..data",
  ".",
  "a/b/c",
  "/etc/x",
  "secrets/",
  "tls-config",
])("the name %s is none of a set", async (name) => {
  await publish(directory, files(1));
  const before = await readdir(directory);
  const bad = [...files(2), { name, content: "", mode: 0o444 }];
  await expect(publish(directory, bad)).rejects.toThrow("no name for a file of a set");
  expect(await readdir(directory)).toEqual(before);
  expect(await readFile(join(directory, "key.pem"), "utf8")).toBe("key.pem 1");
});

test("a name that stands twice is none, either", async () => {
  await expect(publish(directory, [...secrets("db"), ...secrets("db")])).rejects.toThrow("no name for");
});
