import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { INITIALIZER } from "../initializer.ts";
import { meshOf } from "./mesh.ts";

/** Whoever starts the containers may leave the mesh proxy out, or end it before it has made its rules. */
export function initializerFindings({ spec, places }: PreparedPod): Finding[] {
  if (meshOf(spec).ingress === undefined) return [];
  const [first] = spec.initContainers ?? [];
  const closes = first?.env?.some(({ name }) => name === "CONTRAST_INGRESS_PROXY_CONFIG");
  if (first?.name === INITIALIZER && closes === true) return [];
  return [
    {
      severity: "warning",
      code: "initializer",
      where: places.annotation(ANNOTATION.ingress),
      got: "an ingress, and no Initializer that closes the pod's ports before all else runs",
      want: "the Initializer first, without skip-initializer",
      hint: "until the mesh proxy has run, whoever reaches the pod reaches the application, in plain text",
    },
  ];
}
