import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { meshOf } from "./mesh.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";

/** Ingress rules that open a port which no container says it has: one of the two may be a slip. */
export function ingressPortFindings({ spec, places }: PreparedPod): Finding[] {
  const { ingress, bound, adminPort } = meshOf(spec);
  const containers = allContainers(spec);
  const declared = containers.flatMap(({ ports }) => (ports ?? []).map(({ containerPort }) => containerPort));
  return (ingress ?? bound?.rules ?? [])
    .filter(({ port }) => port !== adminPort && !declared.includes(port))
    .map(({ name, port }) => ({
      severity: "warning",
      code: "ingress_port",
      where: places.annotation(ANNOTATION.ingress),
      got: `rule ${name} for port ${port}, which no container declares`,
      want: declared.length === 0 ? `containerPort: ${port}` : `one of ${[...new Set(declared)].join(", ")}`,
    }));
}
