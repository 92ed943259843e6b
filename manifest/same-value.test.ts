import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isSameValue } from "./same-value.ts";

/** Few leaves, so that two values are often the same or nearly so. */
const leaf = fc.oneof(
  fc.constantFrom(0, -0, 1, NaN, "", "1", true, false, null, undefined, 1n),
  fc.uint8Array({ maxLength: 1, max: 1 }),
);
const value = fc.letrec<{ readonly value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    leaf,
    fc.array(tie("value"), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom("a", "b", "0", "__proto__"), tie("value"), { maxKeys: 2, noNullPrototype: true }),
  ),
})).value;

test("two values of data are the same where Node says so", () => {
  let same = 0;
  fc.assert(
    fc.property(value, value, (one, other) => {
      expect(isSameValue(one, other)).toBe(isDeepStrictEqual(one, other));
      expect(isSameValue(one, structuredClone(one))).toBe(true);
      if (isSameValue(one, other)) same++;
    }),
    { numRuns: 3000 },
  );
  expect(same).toBeGreaterThan(50);
});

test("bytes are the same in whatever array, and nothing but bytes is", () => {
  expect(isSameValue(Buffer.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
  for (const other of [Uint8Array.of(1, 3), Uint8Array.of(1), [1, 2], { 0: 1, 1: 2 }, Uint16Array.of(1, 2)]) {
    expect(isSameValue(Uint8Array.of(1, 2), other)).toBe(false);
    expect(isSameValue(other, Uint8Array.of(1, 2))).toBe(false);
  }
});

test("what is no data is the same as itself alone", () => {
  const date = new Date(0);
  expect(isSameValue(date, date)).toBe(true);
  for (const [one, other] of [
    [date, new Date(0)],
    [new Map(), new Map()],
    [date, {}],
    [new Set([1]), new Set([2])],
  ]) {
    expect(isSameValue(one, other)).toBe(false);
  }
});
