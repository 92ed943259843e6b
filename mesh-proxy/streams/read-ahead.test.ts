import { Duplex, PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { READ_AHEAD, withoutReadAhead } from "./read-ahead.ts";

test("only the stream that is made reads no further ahead", () => {
  const before = new PassThrough().readableHighWaterMark;
  expect(withoutReadAhead(() => new Duplex()).readableHighWaterMark).toBe(READ_AHEAD);
  expect(() =>
    withoutReadAhead(() => {
      throw new Error("of the test");
    }),
  ).toThrow("of the test");
  expect(new PassThrough().readableHighWaterMark).toBe(before);
});
