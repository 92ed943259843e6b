import { expect, test } from "vitest";
import { eventLoops, usableCores, workersVariable } from "./event-loops.ts";

const handshakes = { total: 512, perPeer: 128 };

test.each([
  ["one core", undefined, 1, 1],
  ["a few cores", undefined, 3, 3],
  ["a large machine", undefined, 64, 4],
  ["what is wanted", 9, 2, 9],
])("%s", (_, wanted, cores, loops) => {
  expect(eventLoops(wanted, cores, handshakes)).toBe(loops);
});

test("there are no more loops than handshakes that they could share", () => {
  expect(eventLoops(8, 8, { total: 5, perPeer: 3 })).toBe(3);
  expect(eventLoops(8, 8, { total: 1, perPeer: 3 })).toBe(1);
});

test("this process may use a core", () => {
  expect(Number.isInteger(usableCores())).toBe(true);
  expect(usableCores()).toBeGreaterThan(0);
});

test.each(["0", "65", "-1", "1.5", "", "auto", "01"])("%j is no number of event loops", (text) => {
  expect(() => workersVariable.parse(text)).toThrow("from 1 to 64");
});
