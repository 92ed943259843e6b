import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { OneAtATime } from "./one-at-a-time.ts";

test("what is made is made after it was asked for, and once for many", async () => {
  let made = 0;
  const shared = new OneAtATime(
    async () => {
      await sleep(5);
      return ++made;
    },
    () => performance.now(),
  );
  const first = shared.get();
  await sleep(1);
  const others = Array.from({ length: 100 }, async () => shared.get());
  expect(await first).toBe(1);
  expect(new Set(await Promise.all(others))).toEqual(new Set([2]));
});

test("it takes a quarter of the time at most", async () => {
  let [now, begun] = [0, 0];
  const pass = async (ms: number): Promise<void> => void (now += ms);
  const shared = new OneAtATime(
    async () => {
      begun++;
      return pass(20);
    },
    () => now,
    pass,
  );
  for (let i = 0; i < 10; i++) await shared.get();
  expect(now).toBe(10 * 80);
  expect(begun).toBe(10);
});

test("a failure is told to who asked, and the next one is made", async () => {
  let fails = true;
  const shared = new OneAtATime(
    async () => {
      if (fails) throw new Error("of the test");
      return "made";
    },
    () => performance.now(),
  );
  await expect(shared.get()).rejects.toThrow("of the test");
  fails = false;
  expect(await shared.get()).toBe("made");
});
