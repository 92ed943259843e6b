import { expect, test } from "vitest";
import { chooseProtocol, requireProtocol } from "./protocol.ts";

/** A release that speaks 5, and 4 with the release before it. */
const OURS = { oldest: 4, newest: 5 };

test.each([
  ["the same release", { protocol: 5, oldestProtocol: 4 }, 5],
  ["the release before", { protocol: 4, oldestProtocol: 3 }, 4],
  ["the release after", { protocol: 6, oldestProtocol: 5 }, 5],
  ["one that speaks a single protocol", { protocol: 4, oldestProtocol: 0 }, 4],
])("a server and a client of %s agree", (_, said, chosen) => {
  expect(chooseProtocol(said, OURS)).toBe(chosen);
  expect(requireProtocol(chosen, OURS)).toBe(chosen);
});

test.each([
  ["two releases older", { protocol: 3, oldestProtocol: 2 }, "2 to 3", "update the client"],
  ["two releases newer", { protocol: 7, oldestProtocol: 6 }, "6 to 7", "update the Coordinator"],
  ["of the first release, which says none", { protocol: 0, oldestProtocol: 0 }, "1, the client's", "update the client"],
  ["newer, and speaks a single protocol", { protocol: 6, oldestProtocol: 0 }, "6, the client's", "update the Coord"],
  ["whose oldest is newer than its newest", { protocol: 4, oldestProtocol: 9 }, "9 to 4", "update the Coordinator"],
])("a server refuses a client %s", (_, said, got, hint) => {
  const refusal = expect.objectContaining({
    code: "version_unsupported",
    got: expect.stringContaining(got) as string,
    want: expect.stringContaining("4 or 5") as string,
    hint: expect.stringContaining(hint) as string,
  }) as Error;
  expect(() => chooseProtocol(said, OURS)).toThrow(refusal);
});

test.each([
  [3, "update the Coordinator"],
  [0, "update the Coordinator"],
  [6, "update the client"],
])("a client refuses a server that chooses %s", (chosen, hint) => {
  const error = { code: "version_unsupported", hint: expect.stringContaining(hint) as string };
  expect(() => requireProtocol(chosen, OURS)).toThrow(expect.objectContaining(error) as Error);
});
