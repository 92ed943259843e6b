import { isRecord } from "./yaml/align.ts";
import { milliOf } from "./quantity.ts";
import type { Container, PodSpec } from "./pod-spec.ts";

/**
 * The limits of a pod as the kubelet adds them up for its sandbox (k8s.io/component-helpers, resource/helpers.go,
 * `PodLimits`; pkg/kubelet/kuberuntime/kuberuntime_sandbox_linux.go). The larger one of: the containers with the sidecars,
 * and each init container with the sidecars before it. A container without a limit adds nothing. Limits of the pod itself
 * (`spec.resources`, Kubernetes 1.34) go before those of its containers. The overhead of the runtime class does not count.
 */

type Resource = "cpu" | "memory";

/** A quantity that is none. */
export interface MalformedLimit {
  /** Undefined: of the pod itself. */
  readonly container: string | undefined;
  readonly quantity: string;
}

/** @returns thousandths of a CPU or of a byte; 0: no limit */
export function podLimit(spec: PodSpec, resource: Resource): number | MalformedLimit {
  const whole = limitOfPod(spec, resource);
  if (whole !== undefined) return milliOf(whole) ?? { container: undefined, quantity: String(whole) };
  let sidecars = 0;
  let initPeak = 0;
  for (const container of spec.initContainers ?? []) {
    const limit = limitOf(container, resource);
    if (typeof limit !== "number") return limit;
    if (container.restartPolicy === "Always") sidecars += limit;
    initPeak = Math.max(initPeak, container.restartPolicy === "Always" ? sidecars : sidecars + limit);
  }
  let running = sidecars;
  for (const container of spec.containers) {
    const limit = limitOf(container, resource);
    if (typeof limit !== "number") return limit;
    running += limit;
  }
  return Math.max(running, initPeak);
}

function limitOf({ name, resources }: Container, resource: Resource): number | MalformedLimit {
  const quantity = resources?.limits?.[resource] ?? 0;
  return milliOf(quantity) ?? { container: name, quantity: String(quantity) };
}

function limitOfPod(spec: PodSpec, resource: Resource): string | number | undefined {
  const limits = isRecord(spec["resources"]) ? spec["resources"]["limits"] : undefined;
  const quantity = isRecord(limits) ? limits[resource] : undefined;
  return typeof quantity === "string" || typeof quantity === "number" ? quantity : undefined;
}
