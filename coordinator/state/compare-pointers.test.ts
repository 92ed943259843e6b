import { expect, test } from "vitest";
import { comparePointers } from "./compare-pointers.ts";

const at = (sequence: number, digest = `${sequence}`) => ({ sequence, digest });

test.each([
  ["the same", at(5), at(5), undefined, "same"],
  ["a later one, whatever it continues", at(5), at(6), undefined, "later"],
  ["one of its own chain", at(5), at(3), at(3), "earlier"],
  ["one with its number and other bytes", at(5), at(5, "x"), undefined, "forked"],
  ["an earlier one that its chain lacks", at(5), at(3, "x"), at(3), "forked"],
  ["an earlier one of before its chain", at(5), at(0), undefined, "forked"],
] as const)("%s", (_what, ours, theirs, atTheirs, relation) => {
  expect(comparePointers(ours, theirs, atTheirs)).toBe(relation);
});
