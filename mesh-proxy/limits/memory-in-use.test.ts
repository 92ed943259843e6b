import { expect, onTestFinished, test, vi } from "vitest";
import { memoryInUse, shedWhileScarce } from "./memory-in-use.ts";

test("in a group of version 2 sockets are memory in use, and what can be taken back is not", () => {
  const stat =
    "anon 1000\nfile 9000000\nkernel_stack 20\nslab_reclaimable 700000\nslab_unreclaimable 300\nsock 4000000\n";
  const files: Readonly<Record<string, string>> = {
    "/proc/self/cgroup": "0::/kubepods/pod1\n",
    "/sys/fs/cgroup/kubepods/pod1/memory.stat": stat,
  };
  expect(memoryInUse({ read: (path) => files[path] })).toBe(4_001_320);
  // As a container sees it.
  expect(memoryInUse({ read: (path) => (path === "/sys/fs/cgroup/memory.stat" ? stat : undefined) })).toBe(4_001_320);
});

test("version 1 does not count sockets in, and without a group there is nothing to count", () => {
  expect(
    memoryInUse({ read: (path) => (path.endsWith("memory.stat") ? "cache 1\nrss 2\n" : undefined) }),
  ).toBeUndefined();
  expect(memoryInUse({ read: () => undefined })).toBeUndefined();
});

test("memory is shed when seven eighths are in use, and nobody looks where the kernel does not count", () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const shed: number[] = [];
  let inUse = 70;
  shedWhileScarce({ inUse: () => inUse, limit: 80 }, (bytes) => shed.push(bytes));
  vi.advanceTimersByTime(100);
  expect(shed).toEqual([]);
  inUse = 73;
  vi.advanceTimersByTime(100);
  expect(shed).toEqual([3]);
  shedWhileScarce({ inUse: () => undefined, limit: 80 }, () => shed.push(0));
  inUse = 70;
  vi.advanceTimersByTime(1_000);
  expect(shed).toEqual([3]);
});
