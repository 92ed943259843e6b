import { afterEach, expect, test, vi } from "vitest";
import { findFastPath } from "./fast-path.ts";

/** As this file needs it; Node's types leave it out. */
const internals = process as unknown as { binding: (name: string) => Record<string, unknown> };

afterEach(() => void vi.restoreAllMocks());

test("this Node has the fast path", async () => {
  expect(await findFastPath()).toBeDefined();
});

test("a Node that refuses its internals has none", async () => {
  vi.spyOn(internals, "binding").mockImplementation(() => {
    throw new Error("No such binding: stream_wrap");
  });
  expect(await findFastPath()).toBeUndefined();
});

test.each(["WriteWrap", "streamBaseState", "kReadBytesOrError", "kLastWriteWasAsync"])(
  "a Node whose internals have no %s has none",
  async (name) => {
    const { [name]: _, ...rest } = internals.binding("stream_wrap");
    vi.spyOn(internals, "binding").mockReturnValue(rest);
    expect(await findFastPath()).toBeUndefined();
  },
);

test("where it does not do what it should, it is not used", async () => {
  const binding = internals.binding("stream_wrap");
  // Says that nothing is under way while it is.
  vi.spyOn(internals, "binding").mockReturnValue({ ...binding, kLastWriteWasAsync: binding["kReadBytesOrError"] });
  expect(await findFastPath()).toBeUndefined();
});
