import {
  COMMAND_LINE_ANNOTATIONS,
  DEFAULT_VCPUS_ANNOTATION,
  type KataShim,
  type KataSizing,
  vcpusOf,
} from "../../measurement/kata-vcpus.ts";
import { MAX_VCPUS } from "../../measurement/snp/measure.ts";
import { podLimit, type Resource } from "../../kubernetes/pod-limits.ts";
import type { PodPlaces } from "../../kubernetes/pod-places.ts";
import { allContainers, type PodSpec } from "../../kubernetes/pod-spec.ts";
import { milliOf } from "../../kubernetes/quantity.ts";
import type { Workload } from "../../kubernetes/workloads.ts";
import { type Fault, quote } from "../../runtime/fault.ts";

/** The numbers of vCPUs that a pod's guest may have, by each of Kata's shims. */

export interface SizedPod {
  readonly workload: Workload;
  readonly spec: PodSpec;
  readonly places: PodPlaces;
  /** It is still to get containers with memory limits. */
  readonly willBeLimited?: boolean;
}

/** @returns undefined where something is wrong with the pod, which is added to the faults */
export function podVcpus(
  pod: SizedPod,
  sizing: KataSizing,
  faults: Fault[],
): ReadonlyMap<KataShim, number> | undefined {
  const before = faults.length;
  const { spec, places } = pod;
  faults.push(...malformedLimits(pod, "cpu"), ...malformedLimits(pod, "memory"));
  // Each is a whole number of thousandths; their sum in CPUs is not exact.
  const cpuLimit = Math.round(podLimit(spec, "cpu").amount * 1000);
  const hasMemoryLimit = pod.willBeLimited === true || podLimit(spec, "memory").amount > 0;
  for (const name of COMMAND_LINE_ANNOTATIONS) {
    if (annotationOf(pod, name) === undefined) continue;
    // Measured apart, it would need reference values of its own, which every other pod would then satisfy, too.
    const want = "no change of the kernel's command line by one pod: it is measured for all";
    faults.push({ where: places.annotation(name), got: "the annotation", want });
  }
  const vcpus = vcpusOf({ cpuLimit, hasMemoryLimit, defaultVcpus: defaultVcpus(pod, faults) }, sizing);
  const most = Math.max(...vcpus.values());
  if (most > MAX_VCPUS) {
    faults.push({ where: places.at("containers"), got: `limits of ${most} CPUs`, want: `at most ${MAX_VCPUS}` });
  }
  return faults.length === before ? vcpus : undefined;
}

function defaultVcpus(pod: SizedPod, faults: Fault[]): number | undefined {
  const text = annotationOf(pod, DEFAULT_VCPUS_ANNOTATION);
  if (text === undefined) return undefined;
  if (/^\d{1,4}(?:\.\d{1,6})?$/.test(text)) return Number(text);
  const where = pod.places.annotation(DEFAULT_VCPUS_ANNOTATION);
  faults.push({ where, got: quote(text), want: "a number of CPUs, like 2" });
  return undefined;
}

function annotationOf(
  { workload: { template, annotations, path, templatePath } }: SizedPod,
  name: string,
): string | undefined {
  const own = template.metadata?.annotations?.[name];
  return own ?? (path.length === templatePath.length ? annotations[name] : undefined);
}

function malformedLimits({ spec, places }: SizedPod, resource: Resource): Fault[] {
  const path = ["resources", "limits", resource];
  const limits = [
    { quantity: spec.resources?.limits?.[resource], where: () => places.at(...path) },
    ...allContainers(spec).map(({ name, resources }) => {
      return { quantity: resources?.limits?.[resource], where: () => places.of(name, ...path) };
    }),
  ];
  const want = resource === "cpu" ? "a quantity, like 500m" : "a quantity, like 128Mi";
  return limits.flatMap(({ quantity, where }): Fault[] => {
    if (quantity === undefined || quantity === null || milliOf(quantity) !== undefined) return [];
    return [{ where: where(), got: quote(String(quantity)), want }];
  });
}
