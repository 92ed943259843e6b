import { join } from "node:path";
import { collectWorkloads } from "../../../kubernetes/collect-workloads.ts";
import { ANNOTATION } from "../annotations.ts";
import { preparePods } from "../edit-pods.ts";
import { readResourceFiles } from "../../../kubernetes/resource-file.ts";
import { findServices } from "../../../kubernetes/services.ts";
import type { Sidecar } from "../sidecars.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";
import type { ResolvedImages } from "../../../registry/resolved-image.ts";
import { IMAGES, pinned, type TestPod } from "../../../policy/test-pods.ts";

const DEMO = join(import.meta.dirname, "../../../demo/deployment");
const CORPUS = join(import.meta.dirname, "../corpus");

/** The demo's pods as `generate` makes them. */
export function demoPods(sidecar: Sidecar = "native"): Promise<Record<string, TestPod>> {
  return podsOf(DEMO, "demo", sidecar);
}

/** One of the demo's, which renews its certificates. */
export async function renewingPod(name: string): Promise<TestPod> {
  const pod = (await podsOf(DEMO, "renewing", "native", { [ANNOTATION.renew]: "true" }))[`renewing ${name}`];
  if (pod === undefined) throw new Error(`the demo has no pod ${name}`);
  return pod;
}

/** Those of many other people. */
export function corpusPods(): Promise<Record<string, TestPod>> {
  return podsOf(CORPUS, "corpus", "native");
}

/** @param annotations more of all pods but Coordinators */
async function podsOf(
  folder: string,
  what: string,
  sidecar: Sidecar,
  annotations: Readonly<Record<string, string>> = {},
): Promise<Record<string, TestPod>> {
  const files = await readResourceFiles([folder]);
  const workloads = collectWorkloads(files).map((workload) =>
    workload.name === "coordinator"
      ? workload
      : { ...workload, annotations: { ...workload.annotations, ...annotations } },
  );
  const pods = preparePods(workloads, {
    platforms: ["metal-qemu-snp"],
    skipInitializer: false,
    skipServiceMesh: false,
    sidecar,
    services: findServices(files),
    imageReplacements: new Map(),
  });
  const containers = pods.flatMap(({ spec }) => [...(spec.initContainers ?? []), ...spec.containers]);
  for (const container of containers) container.image = pinned(container.image.replace(/@.*/, ""));
  return Object.fromEntries(
    pods.map(({ workload, spec }) => {
      const { kind, namespace, name } = workload;
      const key = what !== "corpus" ? `${what} ${name}` : `${what} ${kind} ${namespace ?? "default"}/${name}`;
      return [key, { subject: workload, spec }];
    }),
  );
}

/** What is known of the images of pods: those of the tests, and any others. */
export function imagesOf(pods: Readonly<Record<string, TestPod>>): ResolvedImages {
  const names = Object.values(pods).flatMap(({ spec }) => allContainers(spec).map(({ image }) => image));
  const config = { entrypoint: [], cmd: ["app"], env: ["LANG=C"], workingDir: "/srv", user: "", volumes: ["/data"] };
  return new Map([...names.map((name) => [name, { digest: "", config }] as const), ...IMAGES]);
}
