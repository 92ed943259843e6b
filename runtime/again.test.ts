import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { again } from "./again.ts";

test("work is done at once, and once more for all who ask while it goes on", async () => {
  const ends: (() => void)[] = [];
  const request = again(() => new Promise((resolve) => ends.push(resolve)));
  request();
  expect(ends).toHaveLength(1);
  for (let count = 0; count < 3; count++) request();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await setImmediate();
  expect(ends).toHaveLength(2);
  ends[1]?.();
  await setImmediate();
  expect(ends).toHaveLength(2);
  request();
  expect(ends).toHaveLength(3);
});
