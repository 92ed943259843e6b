import type { PodAnnotations } from "./annotations.ts";
import { ownContainer } from "./own-container.ts";
import type { Platform } from "./platforms.ts";
import type { Container } from "./pod-spec.ts";

/** The container that gets a pod its certificates before anything else of it runs. */
export const INITIALIZER = "contrast-initializer";

/** What iptables takes, its legacy backend included: guest images deny by that one. */
const FILTER_CAPABILITIES = ["NET_ADMIN", "NET_RAW"];

/**
 * Not privileged: the agents of Contrast's guest images mount configfs, writable, into every container and show it
 * /dev/sev-guest, and root may use both.
 */
export function initializer(before: Container | undefined, annotations: PodAnnotations, platform: Platform): Container {
  // Where a mesh proxy guards the ports, it lifts the guest's default deny itself. The software TEE has no guest.
  const lifts = annotations.ingress === undefined && platform !== "simulated";
  const host = before?.env?.find(({ name }) => name === "COORDINATOR_HOST");
  return ownContainer(before, {
    name: INITIALIZER,
    program: "initializer",
    variables: {
      COORDINATOR_HOST: host?.value ?? "coordinator",
      ...(platform === "simulated" && {
        CONTRAST_TEE: "simulated",
        CONTRAST_ALLOW_INSECURE: "1",
        CONTRAST_SIMULATED_TEE_DIR: "/simulated-tee",
      }),
      ...(lifts && { CONTRAST_LIFT_DEFAULT_DENY: "1" }),
    },
    ownedVariables: [
      "CONTRAST_TEE",
      "CONTRAST_ALLOW_INSECURE",
      "CONTRAST_SIMULATED_TEE_DIR",
      "CONTRAST_LIFT_DEFAULT_DENY",
    ],
    capabilities: lifts ? FILTER_CAPABILITIES : [],
    ownedCapabilities: FILTER_CAPABILITIES,
    defaults: { resources: { requests: { cpu: "10m", memory: "128Mi" }, limits: { memory: "128Mi" } } },
  });
}
