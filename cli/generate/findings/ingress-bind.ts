import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { meshOf } from "./mesh.ts";

/** In mode `bind` nothing keeps the network from what the pod listens at besides the mesh proxy. */
export function ingressBindFindings({ spec, places }: PreparedPod): Finding[] {
  const { bound } = meshOf(spec);
  if (bound === undefined) return [];
  const where = places.annotation(ANNOTATION.ingressMode);
  if (bound.ports.length + bound.rules.length === 0) {
    return [
      {
        severity: "error",
        code: "ingress_bind",
        where,
        got: "mode bind, and no port to listen at",
        want: "containerPort of the applications, or ingress rules",
      },
    ];
  }
  const ports = [...bound.ports, ...bound.rules.map(({ port }) => port)].toSorted((a, b) => a - b);
  return [
    {
      severity: "warning",
      code: "ingress_bind",
      where,
      got: `mode bind: only connections to ports ${ports.join(", ")} of the mesh proxy are checked; whatever else in the pod listens beyond loopback is open to everybody, in plain text`,
      want: "mode transparent, or applications that listen at 127.0.0.1 alone",
      hint: "no rules close the pod's ports, and a host that leaves the mesh proxy out opens these, too",
    },
  ];
}
