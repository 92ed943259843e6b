import { beforeEach, expect, test, vi } from "vitest";
import { RateLimit } from "./rate-limit.ts";

beforeEach(() => {
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

function limited(staysQuiet: boolean): { allows: (key: string) => boolean; reports: string[] } {
  const reports: string[] = [];
  const limit = new RateLimit({
    windowMs: 1000,
    lines: 2,
    keys: 2,
    staysQuiet,
    onSuppressed: (key, codes) => void reports.push(`${key} ${JSON.stringify(codes)}`),
  });
  return { allows: (key) => limit.allows(key, "code"), reports };
}

test("a key has its lines, and one report of the rest at the end of the window", () => {
  const { allows, reports } = limited(false);
  expect([1, 2, 3, 4].map(() => allows("a"))).toEqual([true, true, false, false]);
  expect(allows("b")).toBe(true);
  expect(reports).toEqual([]);
  vi.advanceTimersByTime(1000);
  expect(reports).toEqual(['a {"code":2}']);
  expect(allows("a")).toBe(true);
});

test("more keys than are told apart share one", () => {
  const { allows, reports } = limited(false);
  for (const key of ["a", "b"]) expect(allows(key)).toBe(true);
  expect(["c", "d", "e"].map((key) => allows(key))).toEqual([true, true, false]);
  vi.advanceTimersByTime(1000);
  expect(reports).toEqual(['others {"code":1}']);
});

test("a key that stays quiet has one report in each window until it has nothing more to report", () => {
  const { allows, reports } = limited(true);
  expect([1, 2, 3].map(() => allows("a"))).toEqual([true, true, false]);
  vi.advanceTimersByTime(1000);
  expect(allows("a")).toBe(false);
  vi.advanceTimersByTime(1000);
  expect(reports).toEqual(['a {"code":1}', 'a {"code":1}']);
  vi.advanceTimersByTime(1000);
  expect(allows("a")).toBe(true);
  expect(reports).toHaveLength(2);
});
