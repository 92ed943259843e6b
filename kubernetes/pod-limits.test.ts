import { expect, test } from "vitest";
import type { PodSpec } from "./pod-spec.ts";
import { podLimit } from "./pod-limits.ts";

interface Part {
  readonly cpu?: string | number;
  readonly sidecar?: boolean;
}

function pod(init: readonly Part[], running: readonly Part[], whole?: string): PodSpec {
  const container = ({ cpu, sidecar }: Part, index: number): Record<string, unknown> => ({
    name: `c${index}`,
    image: "i",
    ...(cpu !== undefined && { resources: { limits: { cpu } } }),
    ...(sidecar && { restartPolicy: "Always" }),
  });
  return {
    runtimeClassName: "contrast-cc",
    initContainers: init.map(container),
    containers: running.map(container),
    ...(whole !== undefined && { resources: { limits: { cpu: whole } } }),
  } as unknown as PodSpec;
}

test.each<[string, PodSpec, number]>([
  ["no limit", pod([], [{}]), 0],
  ["containers", pod([], [{ cpu: "1" }, { cpu: "250m" }, {}]), 1250],
  ["an init container that needs less", pod([{ cpu: "1" }], [{ cpu: "2" }]), 2000],
  ["an init container that needs more", pod([{ cpu: "3" }], [{ cpu: "2" }]), 3000],
  ["init containers, one after the other", pod([{ cpu: "3" }, { cpu: "3" }], [{ cpu: "2" }]), 3000],
  ["a sidecar, which runs beside the containers", pod([{ cpu: "1", sidecar: true }], [{ cpu: "2" }]), 3000],
  ["an init container behind a sidecar", pod([{ cpu: "1", sidecar: true }, { cpu: "3" }], [{ cpu: "2" }]), 4000],
  ["an init container before a sidecar", pod([{ cpu: "3" }, { cpu: "1", sidecar: true }], [{ cpu: "1" }]), 3000],
  ["a limit of the pod", pod([{ cpu: "9" }], [{ cpu: "2" }], "1500m"), 1500],
])("%s: as the kubelet adds it up", (_, spec, milli) => {
  expect(Math.round(podLimit(spec, "cpu").amount * 1000)).toBe(milli);
});
