import { compileFunction } from "node:vm";
import { expect, test } from "vitest";
import { attempt, Broken, campaign, type Target } from "./campaign.ts";
import { Coverage } from "./coverage.ts";
import { Chance } from "./mutate.ts";

class Refused extends Error {}

/** Chance alone does not break it: each of its steps has to be found before the next. */
function planted(): Target {
  // Not from this folder, and not before it is called: the coverage of neither would count.
  const parse = compileFunction(
    `if (input[0] !== 0x7f) throw new Refused();
     if (input[1] !== 0x45) throw new Refused();
     if (input[2] !== 0x4c) throw new Refused();
     throw new TypeError("found");`,
    ["input", "Refused"],
    { filename: "planted.js" },
  );
  return { name: "planted", seeds: [Buffer.alloc(8)], refusals: [Refused], run: (input) => parse(input, Refused) };
}

test("what one step needs another for is found, for coverage shows the way", async () => {
  const coverage = new Coverage();
  const end = process.cpuUsage().user + 20e6;
  const { finding } = await campaign(planted(), coverage, new Chance(1), () => process.cpuUsage().user > end);
  coverage.close();
  expect(finding?.input.subarray(0, 3)).toEqual(Buffer.from([0x7f, 0x45, 0x4c]));
  expect(finding?.error).toEqual(new TypeError("found"));
});

test("a refusal is no finding, any other error is", async () => {
  expect(await attempt(planted(), Buffer.alloc(3))).toBeUndefined();
  expect(await attempt(planted(), Buffer.from([0x7f, 0x45, 0x4c]))).toBeInstanceOf(TypeError);
});

test("an input that takes long is a finding", async () => {
  const busy = (): void => {
    for (const start = process.cpuUsage(); process.cpuUsage(start).user < 80_000;);
  };
  expect(await attempt({ ...planted(), run: busy }, Buffer.alloc(1))).toBeInstanceOf(Broken);
});
