import { isDeepStrictEqual } from "node:util";
import type { PodAnnotations } from "./annotations.ts";
import { ownContainer } from "./own-container.ts";
import { ownCommand } from "./own-images.ts";
import type { Container } from "./pod-spec.ts";
import type { Sidecar } from "./sidecars.ts";

/** The container that runs beside those of the pod's owner, and keeps and makes their connections. */
export const MESH_PROXY = "contrast-mesh-proxy";

/** A new object each time: YAML would make aliases of equal ones. */
const healthcheck = (...words: string[]): { exec: { command: string[] } } => ({
  exec: { command: [...ownCommand("mesh-proxy"), "healthcheck", ...words] },
});
const HOOK = healthcheck("wait");

/** It starts in less than a second, but the VM may be busy; the probe starts a program, too. */
const DEFAULTS = {
  startupProbe: { ...healthcheck(), periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 60 },
  readinessProbe: { ...healthcheck(), periodSeconds: 10, timeoutSeconds: 5 },
  resources: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "256Mi" } },
};

export function wantsMesh({ ingress, egress, adminPort }: PodAnnotations): boolean {
  return ingress !== undefined || egress !== undefined || adminPort !== undefined;
}

export function meshProxy(before: Container | undefined, annotations: PodAnnotations, sidecar: Sidecar): Container {
  const { ingress, egress, adminPort } = annotations;
  return ownContainer(before && placed(before, sidecar), {
    name: MESH_PROXY,
    program: "mesh-proxy",
    variables: {
      // Set but empty means that every port needs a client certificate.
      ...(ingress !== undefined && { CONTRAST_INGRESS_PROXY_CONFIG: ingress }),
      ...(egress !== undefined && { CONTRAST_EGRESS_PROXY_CONFIG: egress }),
      ...(adminPort !== undefined && { CONTRAST_ADMIN_PORT: adminPort }),
    },
    ownedVariables: ["CONTRAST_INGRESS_PROXY_CONFIG", "CONTRAST_EGRESS_PROXY_CONFIG", "CONTRAST_ADMIN_PORT"],
    capabilities: ["NET_ADMIN"],
    ownedCapabilities: [],
    defaults:
      sidecar === "native" ? { restartPolicy: "Always", ...DEFAULTS } : { lifecycle: { postStart: HOOK }, ...DEFAULTS },
  });
}

/** Without what makes it a sidecar of the other kind. */
function placed(before: Container, sidecar: Sidecar): Container {
  if (sidecar === "container") {
    const { restartPolicy: _, ...others } = before;
    return others;
  }
  const { lifecycle, ...others } = before;
  if (!isDeepStrictEqual(lifecycle?.postStart, HOOK)) return before;
  const { postStart: _, ...hooks } = lifecycle ?? {};
  return Object.keys(hooks).length === 0 ? others : { ...others, lifecycle: hooks };
}
