import { expect, test } from "vitest";
import { parseStat, processStat, runningProcess } from "./process-stat.ts";

test("the name of a program may look like the fields behind it", () => {
  const text = "42 (a) Z 1 (b) R 7 42 43 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 987654 1000 2\n";
  expect(parseStat(text)).toEqual({
    pid: 42,
    state: "R",
    parent: 7,
    session: 43,
    ticks: 30,
    ticksOfChildren: 70,
    startTime: "987654",
  });
});

test("this process runs, and one that can't be does not", () => {
  expect(runningProcess(process.pid)).toMatchObject({ pid: process.pid, parent: process.ppid });
  expect(processStat(2 ** 30)).toBeUndefined();
  expect(parseStat("nothing of the kind")).toBeUndefined();
});
