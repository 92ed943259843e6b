import type { Container, EnvironmentVariable } from "../../kubernetes/pod-spec.ts";
import { parseIngressRules } from "../../mesh-rules/ingress-rules.ts";
import { MESH_PROXY } from "../../policy/own-images.ts";
import { parsePort } from "../../runtime/variables.ts";
import type { PodAnnotations } from "./annotations.ts";

/**
 * How connections from outside reach the mesh proxy. In mode `bind` it needs no capability: it listens at the pod's
 * address, and the application at loopback. Nothing closes the pod's other ports then.
 */
export type IngressMode = "transparent" | "bind";

export const INGRESS_MODE = "CONTRAST_INGRESS_MODE";
const BIND = "CONTRAST_INGRESS_BIND";

export const BIND_VARIABLES = [INGRESS_MODE, BIND, "CONTRAST_INGRESS_TARGET", "CONTRAST_INGRESS_PORTS"] as const;

/** The pod's address, which nobody knows before it runs. A wrong one is no address of the pod, and the proxy exits. */
const POD_ADDRESS = "status.podIP";

/** @param proxy the mesh proxy as it stands in the file, if it does: a user may have put it into mode `bind` by hand */
export function ingressModeOf({ ingress, ingressMode }: PodAnnotations, proxy: Container | undefined): IngressMode {
  if (ingress === undefined) return "transparent";
  if (ingressMode !== undefined) return ingressMode;
  const byHand = !ownsIngressMode(undefined, proxy);
  return byHand && proxy?.env?.find(({ name }) => name === INGRESS_MODE)?.value === "bind" ? "bind" : "transparent";
}

/** Whether the variables of mode `bind` are `generate`'s: the annotation says so, or did when it wrote them. */
export function ownsIngressMode(annotation: IngressMode | undefined, proxy: Container | undefined): boolean {
  const bind = proxy?.env?.find(({ name }) => name === BIND);
  return annotation !== undefined || bind?.valueFrom?.fieldRef?.fieldPath === POD_ADDRESS;
}

/** What the mesh proxy is told in mode `bind`: to listen at every port that the pod's containers declare. */
export function bindVariables(
  containers: readonly Container[],
  { ingress = "", adminPort }: PodAnnotations,
): Readonly<Record<string, string | Omit<EnvironmentVariable, "name">>> {
  const taken = new Set([...parseIngressRules(ingress).map(({ port }) => port), parsePort(adminPort ?? "")]);
  const declared = containers
    .filter(({ name }) => name !== MESH_PROXY)
    .flatMap(({ ports }) => ports ?? [])
    .filter(({ protocol }) => (protocol ?? "TCP") === "TCP")
    .map(({ containerPort }) => containerPort);
  const ports = [...new Set(declared)].filter((port) => !taken.has(port));
  return {
    [INGRESS_MODE]: "bind",
    [BIND]: { valueFrom: { fieldRef: { fieldPath: POD_ADDRESS } } },
    CONTRAST_INGRESS_TARGET: "127.0.0.1",
    ...(ports.length > 0 && { CONTRAST_INGRESS_PORTS: ports.join(",") }),
  };
}
