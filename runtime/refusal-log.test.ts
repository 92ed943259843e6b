import { beforeEach, expect, test, vi } from "vitest";
import type { Logger } from "./log.ts";
import { RefusalLog } from "./refusal-log.ts";

beforeEach(() => {
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

const MINUTE = 60_000;

function start(): { refuse: (source: string, code?: string) => void; lines: string[]; debug: string[] } {
  const lines: string[] = [];
  const debug: string[] = [];
  const log = {
    warn: ({ source = "", code, count = 1 }: Record<string, unknown>, message: string) =>
      void lines.push(`${message} ${String(source)} ${String(code)} ${String(count)}`),
    debug: (_: unknown, message: string) => void debug.push(message),
  };
  const refusals = new RefusalLog(log as unknown as Logger);
  return {
    refuse: (source, code = "tls") => refusals.write({ code, peer: `${source}:1`, source }, `of ${source}`),
    lines,
    debug,
  };
}

test("a probe that never fits is a line, and then one every ten minutes with their number", () => {
  const { refuse, lines, debug } = start();
  for (let seconds = 0; seconds < 3_600; seconds += 10) {
    refuse("10.0.0.1");
    vi.advanceTimersByTime(10_000);
  }
  expect(lines[0]).toBe("connection refused: of 10.0.0.1  tls 1");
  expect(lines.slice(1)).toEqual(Array(5).fill("60 more connections refused for the same reason 10.0.0.1 tls 60"));
  expect(debug).toHaveLength(359);
});

test("a burst is counted after a second, and nothing is told of twice", () => {
  const { refuse, lines } = start();
  for (let times = 0; times < 50; times++) refuse("10.0.0.1");
  expect(lines).toHaveLength(1);
  vi.advanceTimersByTime(1_000);
  expect(lines.slice(1)).toEqual(["49 more connections refused for the same reason 10.0.0.1 tls 49"]);
  vi.advanceTimersByTime(60 * MINUTE);
  expect(lines).toHaveLength(2);
});

test("another source, another reason and whoever comes after ten quiet minutes has a line at once", () => {
  const { refuse, lines } = start();
  refuse("10.0.0.1");
  refuse("10.0.0.2");
  refuse("10.0.0.1", "timeout");
  expect(lines).toHaveLength(3);
  vi.advanceTimersByTime(11 * MINUTE);
  refuse("10.0.0.1");
  expect(lines).toHaveLength(4);
});

test("a crowd of sources has a bounded number of lines, and all of it is counted", () => {
  const { refuse, lines } = start();
  for (let index = 0; index < 10_000; index++) refuse(`source${index}`, index % 2 === 0 ? "tls" : "timeout");
  expect(lines).toHaveLength(102);
  vi.advanceTimersByTime(MINUTE);
  expect(lines.slice(102)).toEqual([
    "4949 more connections refused for the same reason others tls 4949",
    "4949 more connections refused for the same reason others timeout 4949",
  ]);
});
