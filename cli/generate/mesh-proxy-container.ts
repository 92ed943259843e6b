import { isDeepStrictEqual } from "node:util";
import type { PodAnnotations } from "./annotations.ts";
import { BIND_VARIABLES, bindVariables, type IngressMode, ownsIngressMode } from "./ingress-mode.ts";
import { FILTER_CAPABILITIES, ownContainer } from "./own-container.ts";
import { MESH_PROXY, ownCommand } from "../../policy/own-images.ts";
import type { Container } from "../../kubernetes/pod-spec.ts";
import type { Sidecar } from "./sidecars.ts";

/** A new object each time: YAML would make aliases of equal ones. */
const healthcheck = (...words: string[]): { exec: { command: string[] } } => ({
  exec: { command: [...ownCommand("mesh-proxy"), "healthcheck", ...words] },
});
const HOOK = healthcheck("wait");

/**
 * All ordinary containers are told to stop at the same time: the proxy goes on as long as Services may send connections.
 * Kubernetes before 1.30 has no hook that sleeps.
 */
const LINGER = { exec: { command: [...ownCommand("mesh-proxy").slice(0, 1), "-e", "setTimeout(() => {}, 5_000)"] } };
const CONTAINER_HOOKS = { postStart: HOOK, preStop: LINGER };

/** It starts in less than a second, but the VM may be busy; the probe starts a program, too. */
const DEFAULTS = {
  startupProbe: { ...healthcheck(), periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 60 },
  readinessProbe: { ...healthcheck(), periodSeconds: 10, timeoutSeconds: 5 },
  resources: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "256Mi" } },
};

export function wantsMesh({ ingress, egress, adminPort }: PodAnnotations): boolean {
  return ingress !== undefined || egress !== undefined || adminPort !== undefined;
}

/** What is decided about a pod before its mesh proxy is made. */
export interface MeshProxyOptions {
  /** The applications. */
  readonly containers: readonly Container[];
  readonly sidecar: Sidecar;
  readonly mode: IngressMode;
  readonly user: number;
}

export function meshProxy(
  before: Container | undefined,
  annotations: PodAnnotations,
  { containers, sidecar, mode, user }: MeshProxyOptions,
): Container {
  const { ingress, ingressMode, egress, adminPort } = annotations;
  const isBound = ingress !== undefined && ingressMode === "bind";
  return ownContainer(before && placed(before, sidecar), {
    name: MESH_PROXY,
    program: "mesh-proxy",
    variables: {
      // Set but empty means that every port needs a client certificate.
      ...(ingress !== undefined && { CONTRAST_INGRESS_PROXY_CONFIG: ingress }),
      ...(isBound && bindVariables(containers, annotations)),
      ...(egress !== undefined && { CONTRAST_EGRESS_PROXY_CONFIG: egress }),
      ...(adminPort !== undefined && { CONTRAST_ADMIN_PORT: adminPort }),
    },
    ownedVariables: [
      "CONTRAST_INGRESS_PROXY_CONFIG",
      "CONTRAST_EGRESS_PROXY_CONFIG",
      "CONTRAST_ADMIN_PORT",
      ...(ownsIngressMode(ingressMode, before) ? BIND_VARIABLES : []),
    ],
    user,
    // Only rules that lead connections to the proxy need any.
    capabilities: ingress !== undefined && mode === "transparent" ? FILTER_CAPABILITIES : [],
    defaults:
      sidecar === "native"
        ? { restartPolicy: "Always", ...DEFAULTS }
        : { lifecycle: structuredClone(CONTAINER_HOOKS), ...DEFAULTS },
  });
}

/** Without what makes it a sidecar of the other kind. */
function placed(before: Container, sidecar: Sidecar): Container {
  if (sidecar === "container") {
    const { restartPolicy: _, ...others } = before;
    return others;
  }
  const { lifecycle, ...others } = before;
  const hooks = Object.entries(lifecycle ?? {}).filter(
    ([name, hook]) => !isDeepStrictEqual(hook, CONTAINER_HOOKS[name as keyof typeof CONTAINER_HOOKS]),
  );
  return hooks.length === 0 ? others : { ...others, lifecycle: Object.fromEntries(hooks) };
}
