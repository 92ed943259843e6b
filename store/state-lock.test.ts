import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockState } from "./state-lock.ts";

/** That a killed process frees its lock is shown with the program, in test/state-directory.test.ts. */

const holder = { pid: 42, host: "node-a", since: new Date("2026-06-01T12:00:00Z") };
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "state-lock-test-"));
});

afterEach(() => rm(directory, { recursive: true }));

test("the second one is told who holds the lock, and gets it when the first lets go", async () => {
  const first = await lockState(directory, holder);
  const second = lockState(directory, { ...holder, pid: 43 });
  await expect(second).rejects.toMatchObject({
    code: "state_locked",
    where: directory,
    got: 'the lock held by process 42 on "node-a" since 2026-06-01T12:00:00.000Z',
  });
  expect(await readFile(join(directory, "lock"), "utf8")).toContain('"pid":42,');
  first.release();
  (await lockState(directory, holder)).release();
});

test.each(["", "garbage", '{"pid":"1"}', JSON.stringify({ ...holder, host: "x".repeat(10_000) })])(
  "what an earlier holder left in the file does not matter: %j",
  async (text) => {
    await writeFile(join(directory, "lock"), text);
    const lock = await lockState(directory, holder);
    expect(JSON.parse(await readFile(join(directory, "lock"), "utf8"))).toMatchObject({ host: "node-a" });
    lock.release();
  },
);

test("a holder without a readable name holds it all the same", async () => {
  const lock = await lockState(directory, holder);
  await writeFile(join(directory, "lock"), "\u001b[31mgarbage");
  await expect(lockState(directory, holder)).rejects.toMatchObject({
    code: "state_locked",
    got: "the lock held by a process that did not write its name",
  });
  lock.release();
});
