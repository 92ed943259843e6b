import { expect, test } from "vitest";
import { sha256Hex } from "../bytes/sha256.ts";
import type { Step } from "./history.ts";
import { formerSeedHolders } from "./seed-holders.ts";

/** Which manifests let whom have the seed; their chain is checked elsewhere. */
interface Named {
  readonly owners: string;
  readonly threshold?: number;
  readonly seed?: string;
}

function history(...steps: readonly Named[]): Step[] {
  return steps.map(({ owners, threshold, seed = "one" }): Step => {
    const keys = owners.split("").map((name) => Buffer.from(name).toString("hex"));
    const manifest = Buffer.from(JSON.stringify({ SeedshareOwnerPubKeys: keys, SeedshareThreshold: threshold }));
    return { manifest, transition: { rootKey: seed } as Step["transition"] };
  });
}

const former = (...steps: readonly Named[]): [string, number][] => {
  const names = new Map("abcz".split("").map((name) => [sha256Hex(Buffer.from(name)), name]));
  return formerSeedHolders(history(...steps))
    .map(({ key, manifest }): [string, number] => [names.get(key) ?? key, manifest])
    .toSorted(([one], [other]) => one.localeCompare(other));
};

test("where owners and threshold never changed, nobody else may know the seed", () => {
  expect(former({ owners: "ab", threshold: 2 }, { owners: "ba", threshold: 2 })).toEqual([]);
  expect(former({ owners: "a" })).toEqual([]);
  expect(formerSeedHolders([])).toEqual([]);
});

test("owners of any earlier manifest may, also of one in between", () => {
  expect(former({ owners: "z" }, { owners: "a" })).toEqual([["z", 1]]);
  expect(former({ owners: "a" }, { owners: "z" }, { owners: "a" })).toEqual([["z", 2]]);
  expect(former({ owners: "az" }, { owners: "az" }, { owners: "a" })).toEqual([["z", 2]]);
});

test("owners who once needed fewer may know it alone, though they still are owners", () => {
  expect(former({ owners: "ab", threshold: 1 }, { owners: "ab", threshold: 2 })).toEqual([
    ["a", 1],
    ["b", 1],
  ]);
  expect(former({ owners: "abc", threshold: 3 }, { owners: "abc", threshold: 2 })).toEqual([]);
});

test("a new seed is known to nobody of before", () => {
  expect(former({ owners: "z" }, { owners: "a", seed: "two" })).toEqual([]);
  expect(former({ owners: "z" }, { owners: "az", seed: "two" }, { owners: "a", seed: "two" })).toEqual([["z", 2]]);
});

test("keys are compared whatever the case of their digits", () => {
  const manifest = (key: string): Step["manifest"] => Buffer.from(JSON.stringify({ SeedshareOwnerPubKeys: [key] }));
  const transition = { rootKey: "one" } as Step["transition"];
  expect(
    formerSeedHolders([
      { manifest: manifest("AB"), transition },
      { manifest: manifest("ab"), transition },
    ]),
  ).toEqual([]);
});
