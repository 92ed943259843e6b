import fc from "fast-check";
import { expect, test } from "vitest";
import { HeldBytes, Holding } from "./held-bytes.ts";

const KIB = 1024;
const LIMITS = { total: 16_000 * KIB, perSource: 4_000 * KIB };

async function settled(): Promise<void> {
  await new Promise((resolve) => process.nextTick(resolve));
}

function holder(source: string, reset: string[], name = source): Holding {
  return new Holding(source, () => reset.push(name));
}

test("over the share of a source, that connection of it is reset which holds most, and of several the first", async () => {
  const held = new HeldBytes(LIMITS);
  const reset: string[] = [];
  const connections = ["small", "first", "second", "last"].map((name) => holder("a", reset, name));
  const other = holder("b", reset);
  [300, 1_500, 1_500, 1_000].forEach((kib, index) => held.set(connections[index] as Holding, kib * KIB));
  held.set(other, 3_000 * KIB);
  await settled();
  expect(reset).toEqual(["first"]);
  expect(held.used).toBe((300 + 1_500 + 1_000 + 3_000) * KIB);
});

test("over the total it is one of the source that has most, whoever asks", async () => {
  const held = new HeldBytes(LIMITS);
  const reset: string[] = [];
  for (const [source, kib] of [
    ["a", 3_900],
    ["b", 3_700],
    ["c", 3_700],
    ["d", 3_700],
    ["e", 2_000],
  ] as const) {
    held.set(holder(source, reset), kib * KIB);
  }
  await settled();
  expect(reset).toEqual(["a"]);
});

test("what is reset is heard of no more, and it is reset once", async () => {
  const held = new HeldBytes({ total: 100, perSource: 50 });
  const reset: string[] = [];
  const connection = holder("a", reset);
  held.set(connection, 51);
  held.set(connection, 60);
  await settled();
  held.set(connection, 10);
  expect([held.used, reset]).toEqual([0, ["a"]]);
});

test("whatever connections hold, it is never more than may be, and what is released is there again", async () => {
  const act = fc.record({ connection: fc.nat(11), bytes: fc.oneof(fc.constant(0), fc.nat(60)) });
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
      const limits = { total: 100, perSource: 45 };
      const held = new HeldBytes(limits);
      const reset: string[] = [];
      const connections = Array.from({ length: 12 }, (_, index) => holder("abcd".charAt(index % 4), reset));
      for (const { connection, bytes } of acts) {
        held.set(connections[connection] as Holding, bytes);
        expect(held.used).toBeLessThanOrEqual(limits.total);
        expect(held.mostOfOneSource).toBeLessThanOrEqual(limits.perSource);
      }
      await settled();
      expect(reset).toHaveLength(connections.filter(({ isReset }) => isReset).length);
      for (const connection of connections) held.release(connection);
      expect(held.used).toBe(0);
    }),
  );
});
