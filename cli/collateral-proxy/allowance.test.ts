import { expect, test } from "vitest";
import { Allowance } from "./allowance.ts";

test("a minute's worth at once, and then one after the other", () => {
  let time = 0;
  const allowance = new Allowance(4, () => time);
  const taken = (count: number): boolean[] => Array.from({ length: count }, () => allowance.take("a"));
  expect(taken(5)).toEqual([true, true, true, true, false]);
  expect(allowance.take("b")).toBe(true);
  time = 15_000;
  expect(taken(2)).toEqual([true, false]);
  time = 10 * 60_000;
  expect(taken(5)).toEqual([true, true, true, true, false]);
});

test("a clock that goes back gives nothing", () => {
  let time = 60_000;
  const allowance = new Allowance(1, () => time);
  expect(allowance.take("a")).toBe(true);
  time = 0;
  expect(allowance.take("a")).toBe(false);
});
