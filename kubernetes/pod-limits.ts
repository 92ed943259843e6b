import type { Container, PodSpec } from "./pod-spec.ts";
import { parseQuantity } from "./quantity.ts";

/**
 * The limits of a whole pod, as the kubelet tells them to the runtime: what is needed at the moment when most is needed. All
 * containers and sidecars run at once; before that, each init container runs beside the sidecars before it. The overhead
 * of the runtime class is not in it (k8s.io/component-helpers, resource/helpers.go, PodLimits).
 */
export interface PodLimit {
  /** In the resource's unit, bytes or CPUs. What has no limit counts as nothing. */
  readonly amount: number;
  /** Those that run at that moment; undefined: the pod has a limit as a whole. */
  readonly containers: readonly Container[] | undefined;
}

export type Resource = "memory" | "cpu";

export function podLimit({ initContainers, containers, resources }: PodSpec, resource: Resource): PodLimit {
  const whole = resources?.limits?.[resource] ?? undefined;
  if (whole !== undefined) return { amount: parseQuantity(whole) ?? 0, containers: undefined };
  const init = initContainers ?? [];
  const moments = [
    [...init.filter(isSidecar), ...containers],
    ...init.flatMap((container, index) =>
      isSidecar(container) ? [] : [[...init.slice(0, index).filter(isSidecar), container]],
    ),
  ].map((running) => ({
    amount: running.reduce((sum, container) => sum + (limitOf(container, resource) ?? 0), 0),
    containers: running,
  }));
  return moments.reduce((most, moment) => (moment.amount > most.amount ? moment : most));
}

/** @returns undefined where there is none */
export function limitOf({ resources }: Container, resource: Resource): number | undefined {
  const limit = resources?.limits?.[resource];
  return limit === undefined || limit === null ? undefined : parseQuantity(limit);
}

/** An init container that runs on, beside all that follow (Kubernetes 1.29). */
export function isSidecar({ restartPolicy }: Container): boolean {
  return restartPolicy === "Always";
}
