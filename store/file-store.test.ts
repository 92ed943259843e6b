import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FileStore } from "./file-store.ts";
import { encodeRecord } from "./record.ts";

const holder = { pid: 42, host: "test", since: new Date("2026-06-01T00:00:00Z") };
const pointer = Buffer.from("a pointer");
const other = Buffer.from("another pointer");

let parent: string;
let directory: string;
let store: FileStore;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "file-store-test-"));
  directory = join(parent, "above", "state");
  store = await FileStore.open(directory, holder);
});

afterEach(async () => {
  store.close();
  await rm(parent, { recursive: true });
});

const inState = (...names: string[]): string => join(directory, ...names);

async function reopen(): Promise<void> {
  store.close();
  store = await FileStore.open(directory, holder);
}

test("a new directory has no pointer yet, and nobody else may look into it", async () => {
  expect(await store.latest()).toBeUndefined();
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    expect((await stat(inState(entry.name))).mode & 0o777).toBe(entry.isDirectory() ? 0o700 : 0o600);
  }
});

test("what was put and pointed to is there after the store is opened again", async () => {
  const digest = await store.put("policies", Buffer.from("a policy"));
  await store.compareAndSwapLatest(undefined, pointer);
  await reopen();
  expect(await store.get("policies", digest)).toEqual(Buffer.from("a policy"));
  expect(await store.latest()).toEqual(pointer);
});

test("the records of a kind are listed, without what a crash left, and one that is removed is gone", async () => {
  const digests = [await store.put("consents", Buffer.from("one")), await store.put("consents", Buffer.from("two"))];
  await writeFile(inState("consents", `${digests[0]}.0123456789ab.tmp`), "");
  expect((await store.list("consents")).sort()).toEqual(digests.toSorted());
  await store.remove("consents", digests[0] ?? "");
  await store.remove("consents", digests[0] ?? "");
  expect(await store.list("consents")).toEqual([digests[1]]);
  expect(await store.list("pointers")).toEqual([]);
});

test("the pointer moves only from where it is expected, also when two move it at once", async () => {
  const moves = [pointer, other].map((next) => store.compareAndSwapLatest(undefined, next));
  const [first, second] = await Promise.allSettled(moves);
  expect(first?.status).toBe("fulfilled");
  expect(second).toMatchObject({ status: "rejected", reason: { code: "conflict" } });
  await expect(store.compareAndSwapLatest(other, pointer)).rejects.toMatchObject({ code: "conflict" });
  expect(await store.latest()).toEqual(pointer);
});

test("records without a pointer that was moved are those of a first set that a crash ended: there is no manifest", async () => {
  await store.put("manifests", Buffer.from("a manifest"));
  await reopen();
  expect(await store.latest()).toBeUndefined();
});

test("a pointer that was lost is reported, and not taken for a new deployment", async () => {
  await rm(inState("latest"));
  await reopen();
  for (const use of [store.latest(), store.compareAndSwapLatest(undefined, pointer)]) {
    await expect(use).rejects.toMatchObject({ code: "damaged_state", where: "latest", got: "ENOENT" });
  }
});

test("a crash between the first steps of a new directory is made up for", async () => {
  for (const remains of [[], ["lock"], ["lock", "latest"], ["lock", "latest", "manifests"]]) {
    store.close();
    for (const name of await readdir(directory)) {
      if (!remains.includes(name)) await rm(inState(name), { recursive: true });
    }
    await reopenFresh();
  }
});

async function reopenFresh(): Promise<void> {
  store = await FileStore.open(directory, holder);
  expect(await store.latest()).toBeUndefined();
  const digest = await store.put("policies", Buffer.from("a policy"));
  await rm(inState("policies", digest));
}

test.each([
  ["nothing there", () => undefined],
  ["an empty file", (path: string) => writeFile(path, "")],
  ["a directory", (path: string) => mkdir(path)],
  ["the payload without its header", (path: string) => writeFile(path, "a policy")],
  ["another record of its kind", (path: string) => writeFile(path, encodeRecord("policies", Buffer.from("evil")))],
  ["a record of another kind", (path: string) => writeFile(path, encodeRecord("manifests", Buffer.from("a policy")))],
])("%s in the place of a record is reported by its name", async (_name, replace) => {
  const digest = await store.put("policies", Buffer.from("a policy"));
  await rm(inState("policies", digest));
  await replace(inState("policies", digest));
  await expect(store.get("policies", digest)).rejects.toMatchObject({
    code: "damaged_state",
    where: `policies/${digest}`,
    hint: expect.stringContaining("backup") as string,
  });
});

test.each([
  ["an empty file", (path: string) => writeFile(path, "")],
  ["a directory", (path: string) => mkdir(path)],
  ["a record", (path: string) => writeFile(path, encodeRecord("transitions", pointer))],
])("%s in the place of the pointer is reported by its name", async (_name, replace) => {
  await rm(inState("latest"));
  await replace(inState("latest"));
  await expect(store.latest()).rejects.toMatchObject({ code: "damaged_state", where: "latest" });
});

test("a record of a later version is refused by its name and version", async () => {
  await writeFile(inState("latest"), "contrast latest 2 of a form that nobody knows yet\n");
  const refusal = { code: "unknown_state_version", where: "latest", got: "version 2", want: "version 1" };
  await expect(store.latest()).rejects.toMatchObject(refusal);
  await expect(store.compareAndSwapLatest(undefined, pointer)).rejects.toMatchObject(refusal);
  expect(await readFile(inState("latest"), "utf8")).toContain("nobody knows yet");
});

test("a damaged record is whole again when the same bytes are put again", async () => {
  const digest = await store.put("policies", Buffer.from("a policy"));
  await writeFile(inState("policies", digest), "damage");
  await store.put("policies", Buffer.from("a policy"));
  expect(await store.get("policies", digest)).toEqual(Buffer.from("a policy"));
});

test("what a crash left of unfinished files is cleared away, and nothing else", async () => {
  const leftovers = ["latest.0123456789ab.tmp", `policies/${"a".repeat(64)}.0123456789ab.tmp`];
  const strangers = ["notes.tmp", "latest.backup", "policies/readme", `policies/${"a".repeat(64)}.tmp`];
  for (const name of [...leftovers, ...strangers]) await writeFile(inState(name), "");
  await reopen();
  const names = await readdir(directory, { recursive: true });
  expect(names).toEqual(expect.arrayContaining(strangers));
  for (const name of leftovers) expect(names).not.toContain(name);
});

test("a store that is refused leaves the directory as it is", async () => {
  await writeFile(inState("latest.0123456789ab.tmp"), "in the middle of a write");
  await expect(FileStore.open(directory, holder)).rejects.toMatchObject({ code: "state_locked" });
  expect(await readdir(directory)).toContain("latest.0123456789ab.tmp");
});

test("a file where the directory should be is a clear refusal", async () => {
  await writeFile(join(parent, "file"), "");
  await expect(FileStore.open(join(parent, "file", "state"), holder)).rejects.toMatchObject({
    code: "state_not_written",
    got: "ENOTDIR",
  });
});

test("a pointer that somebody else moved or removed is noticed, own moves are not", async () => {
  await store.compareAndSwapLatest(undefined, pointer);
  await cp(inState("latest"), inState("latest.backup"));
  let told = 0;
  const stop = store.watch(() => void told++);
  // Longer than the time from one look to the next.
  for (const end = Date.now() + 1500; Date.now() < end;) {
    await store.compareAndSwapLatest(pointer, other);
    await store.compareAndSwapLatest(other, pointer);
  }
  await store.compareAndSwapLatest(pointer, other);
  expect(told).toBe(0);

  await rename(inState("latest.backup"), inState("latest"));
  await expect.poll(() => told, { timeout: 5000 }).toBe(1);
  await expect(store.compareAndSwapLatest(other, pointer)).rejects.toMatchObject({ code: "conflict" });
  await rm(inState("latest"));
  await expect.poll(() => told, { timeout: 5000 }).toBe(2);
  stop();
});
