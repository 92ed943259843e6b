import fc from "fast-check";
import { expect, test } from "vitest";
import { KATA_DEFAULTS, KATA_SHIMS, type PodSize, vcpusOf } from "./kata-vcpus.ts";

const SIZING = { shims: KATA_SHIMS, ...KATA_DEFAULTS };
const numbers = (size: Partial<PodSize>): number[] => [
  ...vcpusOf({ cpuLimit: 0, hasMemoryLimit: true, defaultVcpus: undefined, ...size }, SIZING).values(),
];

test.each<[number, number, number]>([
  [0, 1, 1],
  [1, 2, 1],
  [500, 2, 1],
  [600, 2, 1],
  [601, 2, 2],
  [1000, 2, 2],
  [1001, 3, 2],
  [1600, 3, 2],
  [1601, 3, 3],
  [2000, 3, 3],
  [2200, 4, 3],
  [7600, 9, 8],
  [64_000, 65, 65],
])("limits of %d thousandths of a CPU are %d vCPUs by the Go shim, and %d by runtime-rs", (cpuLimit, go, rust) => {
  expect(numbers({ cpuLimit })).toEqual([go, rust]);
});

test("runtime-rs takes default_vcpus only where the pod has no limit at all", () => {
  expect(numbers({ defaultVcpus: 4 })).toEqual([4, 1]);
  expect(numbers({ defaultVcpus: 4, hasMemoryLimit: false })).toEqual([4, 4]);
  expect(numbers({ defaultVcpus: 4, cpuLimit: 2000 })).toEqual([6, 3]);
  expect(numbers({ defaultVcpus: 0.5, hasMemoryLimit: false })).toEqual([1, 1]);
});

test("a guest has at least one vCPU, and no more than one beyond what is asked for and the default", () => {
  fc.assert(
    fc.property(fc.nat(256_000), (cpuLimit) => {
      for (const count of numbers({ cpuLimit })) {
        expect(count).toBeGreaterThanOrEqual(Math.max(1, Math.ceil(cpuLimit / 1000)));
        expect(count).toBeLessThanOrEqual(Math.ceil(cpuLimit / 1000) + 1);
      }
    }),
  );
});
