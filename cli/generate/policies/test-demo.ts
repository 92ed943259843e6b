import { join } from "node:path";
import { collectWorkloads } from "../../../kubernetes/collect-workloads.ts";
import { preparePods } from "../edit-pods.ts";
import { readResourceFiles } from "../../../kubernetes/resource-file.ts";
import type { Sidecar } from "../sidecars.ts";
import { pinned, type TestPod } from "../../../policy/test-pods.ts";

const DEMO = join(import.meta.dirname, "../../../demo/deployment");

/** The demo's pods as `generate` makes them. */
export async function demoPods(sidecar: Sidecar = "native"): Promise<Record<string, TestPod>> {
  const workloads = collectWorkloads(await readResourceFiles([DEMO]));
  const pods = preparePods(workloads, {
    platforms: ["metal-qemu-snp"],
    skipInitializer: false,
    skipServiceMesh: false,
    sidecar,
    imageReplacements: new Map(),
  });
  const containers = pods.flatMap(({ spec }) => [...(spec.initContainers ?? []), ...spec.containers]);
  for (const container of containers) container.image = pinned(container.image);
  return Object.fromEntries(pods.map(({ workload, spec }) => [`demo ${workload.name}`, { subject: workload, spec }]));
}
