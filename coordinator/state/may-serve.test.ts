import { expect, test } from "vitest";
import { type Facts, obstacleTo } from "./may-serve.ts";

const good: Facts = { forked: false, moved: false, confirmedAt: 1000, heldUntil: 0 };

test.each<[string, Partial<Facts>, number, ReturnType<typeof obstacleTo>]>([
  ["just confirmed", {}, 1000, undefined],
  ["as old as may be", {}, 16_000, undefined],
  ["older than that", {}, 16_001, "unconfirmed"],
  ["by a clock that is none", {}, NaN, "unconfirmed"],
  ["never confirmed", { confirmedAt: -Infinity }, 0, "unconfirmed"],
  ["held", { heldUntil: 2000 }, 1999, "held"],
  ["held no longer", { heldUntil: 2000 }, 2000, undefined],
  ["moved, and not confirmed either", { moved: true }, 99_999, "moved"],
  ["forked, whatever else", { forked: true, moved: true }, 1000, "forked"],
])("%s", (_what, facts, now, obstacle) => {
  expect(obstacleTo({ ...good, ...facts }, now, 15_000)).toBe(obstacle);
});

test("a store that nobody shares needs no confirmation", () => {
  expect(obstacleTo(good, 1e12, Infinity)).toBeUndefined();
});
