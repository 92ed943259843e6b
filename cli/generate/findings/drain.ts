import type { Container } from "../../../kubernetes/pod-spec.ts";
import { selects, type Service } from "../../../kubernetes/services.ts";
import { MESH_PROXY } from "../../../policy/own-images.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { meshOf } from "./mesh.ts";

/**
 * Applications behind a Service that end as soon as their pod is to end. For a moment the nodes still send connections,
 * which nobody accepts then. The mesh proxy goes on until the applications have ended.
 */
export function drainFindings({ workload, spec, places }: PreparedPod, services: readonly Service[]): Finding[] {
  const { ingress, bound } = meshOf(spec);
  if (ingress === undefined && bound === undefined) return [];
  const service = services.find((candidate) => selects(candidate, workload));
  if (service === undefined) return [];
  const applications = spec.containers.filter(({ name }) => name !== MESH_PROXY);
  const serving = applications.filter(({ ports }) => (ports ?? []).length > 0);
  return (serving.length > 0 ? serving : applications)
    .filter(endsAtOnce)
    .map(({ name }) => ({
      severity: "warning",
      code: "drain",
      where: places.of(name),
      got: `${name} has no preStop hook: a restart loses connections that Service ${service.name} still sends`,
      want: "lifecycle: { preStop: { sleep: { seconds: 5 } } }",
      hint: "before Kubernetes 1.30 an exec hook that sleeps; terminationGracePeriodSeconds has to be longer",
    }));
}

function endsAtOnce({ lifecycle }: Container): boolean {
  return (lifecycle?.preStop ?? undefined) === undefined;
}
