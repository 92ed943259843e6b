import { expect, test } from "vitest";
import { memoryLimit, memoryLimitVariable, system } from "./memory-limit.ts";

const GIB = 2 ** 30;

const limitOf = (files: Readonly<Record<string, string>>): number =>
  memoryLimit({ read: (path) => files[path], machine: 8 * GIB });

test.each([
  ["no control group", {}, 8 * GIB],
  ["version 2, in a namespace", { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "268435456\n" }, GIB / 4],
  ["version 2, unlimited", { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n" }, 8 * GIB],
  [
    "version 2, a group above has less",
    {
      "/proc/self/cgroup": "0::/pods/one\n",
      "/sys/fs/cgroup/pods/one/memory.max": "1073741824\n",
      "/sys/fs/cgroup/pods/memory.max": "536870912\n",
    },
    GIB / 2,
  ],
  [
    "version 1",
    {
      "/proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/pods/one\n0::/\n",
      "/sys/fs/cgroup/memory/pods/one/memory.limit_in_bytes": "134217728\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    },
    GIB / 8,
  ],
  [
    "version 1, with the host's path and a mount of its own",
    {
      "/proc/self/cgroup": "4:memory:/kubepods/pod1/container\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
    },
    GIB / 8,
  ],
  ["more than the machine has", { "/sys/fs/cgroup/memory.max": "9223372036854771712\n" }, 8 * GIB],
])("%s", (_, files: Readonly<Record<string, string>>, limit) => {
  expect(limitOf(files)).toBe(limit);
});

test("this process has a limit", () => {
  const limit = memoryLimit(system);
  expect(limit).toBeGreaterThan(16 * 2 ** 20);
  expect(limit).toBeLessThanOrEqual(system.machine);
});

test.each([
  ["256Mi", GIB / 4],
  ["1Gi", GIB],
  ["1000", 1000],
  ["5M", 5_000_000],
])("%s", (text, bytes) => {
  expect(memoryLimitVariable.parse(text)).toBe(bytes);
});

test.each(["", "0", "-1", "1.5Gi", "256mi", "256 Mi", "999999999999999Gi", "max"])("%j is no quantity", (text) => {
  expect(() => memoryLimitVariable.parse(text)).toThrow("like 256Mi");
});
