import fc from "fast-check";
import { expect, test } from "vitest";
import { milliOf } from "./quantity.ts";

test.each([
  ["1", 1000],
  [2, 2000],
  [0.1, 100],
  ["500m", 500],
  ["4.35", 4350],
  ["0.0001", 1],
  ["1n", 1],
  ["1500u", 2],
  [".5", 500],
  ["1.", 1000],
  ["+3", 3000],
  ["1e3", 1_000_000],
  ["12E-3", 12],
  ["1E", 1e21],
  ["1Ki", 1_024_000],
  ["0.5Mi", 524_288_000],
  ["0", 0],
])("%s is %d thousandths", (quantity, milli) => {
  expect(milliOf(quantity)).toBe(milli);
});

test.each(["", ".", "-1", "1 m", "1mm", "1K", "0x10", "1e", "e3", "1e999", "1.2.3", "Mi", "NaN", "1e3m"])(
  "%j is no quantity",
  (quantity) => {
    expect(milliOf(quantity)).toBeUndefined();
  },
);

test("whole thousandths are read as they are, however they are written", () => {
  fc.assert(
    fc.property(fc.nat(10_000_000), (milli) => {
      expect(milliOf(`${milli}m`)).toBe(milli);
      expect(milliOf(`${Math.floor(milli / 1000)}.${String(milli % 1000).padStart(3, "0")}`)).toBe(milli);
    }),
  );
});
