import { expect, test } from "vitest";
import { relationOf } from "./compare.ts";

const history = (sequence: number, pointers: string, transitions: string): Parameters<typeof relationOf>[0] => ({
  pointer: { sequence },
  pointers: pointers.split(""),
  transitions: transitions.split(""),
});

test.each([
  ["the same pointer", history(2, "ba", "y"), history(2, "ba", "y"), "same"],
  ["one set more", history(3, "cba", "zy"), history(2, "ba", "y"), "newer"],
  ["one set less", history(2, "ba", "y"), history(3, "cba", "zy"), "older"],
  ["a recovery more", history(3, "cba", "y"), history(2, "ba", "y"), "newer"],
  ["two recoveries of one history", history(3, "cba", "y"), history(3, "dba", "y"), "other"],
  ["two sets after one", history(3, "cba", "zy"), history(3, "dba", "xy"), "other"],
  ["another deployment", history(2, "ba", "zy"), history(2, "dc", "xw"), "other"],
  ["a set more, both of version 1", history(0, "b", "zy"), history(0, "a", "y"), "newer"],
  ["a set less, both of version 1", history(0, "a", "y"), history(0, "b", "zy"), "older"],
  ["other sets, both of version 1", history(0, "a", "zy"), history(0, "b", "xy"), "other"],
  ["another deployment, both of version 1", history(0, "a", "y"), history(0, "b", "x"), "other"],
  ["the first move after version 1", history(1, "ba", "y"), history(0, "a", "y"), "newer"],
  ["version 1, by a set behind what is there", history(0, "a", "y"), history(2, "dc", "zy"), "older"],
  [
    "a seed share owner's recovery of another pointer of version 1",
    history(1, "dc", "y"),
    history(0, "a", "y"),
    "newer",
  ],
])("%s", (_name, backup, present, relation) => {
  expect(relationOf(backup, present)).toBe(relation);
});
