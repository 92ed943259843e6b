import { isDeepStrictEqual } from "node:util";
import type { PodAnnotations } from "./annotations.ts";
import { keptOrWantedHost, type WantedHost } from "./coordinator-host.ts";
import { INGRESS_MODE, type IngressMode } from "./ingress-mode.ts";
import { FILTER_CAPABILITIES, ownContainer } from "./own-container.ts";
import type { Platform } from "./platforms.ts";
import { SIMULATED_VARIABLES } from "./simulated-tee.ts";
import type { Container } from "../../kubernetes/pod-spec.ts";
import { ownCommand } from "../../policy/own-images.ts";
import { printTemplates, SECRET_TEMPLATES } from "../../secret-files/templates-variable.ts";

/** The container that gets a pod its certificates before anything else of it runs. */
export const INITIALIZER = "contrast-initializer";

/** What stands in for the vendors' services. */
export const COLLATERAL_PROXY = "CONTRAST_COLLATERAL_PROXY";

export const OPEN_ATTESTATION_API = "CONTRAST_OPEN_ATTESTATION_API";

/** What is decided about a pod before its Initializer is made. */
export interface InitializerOptions {
  readonly platform: Platform;
  readonly mode: IngressMode;
  readonly user: number;
  readonly collateralProxy: string | undefined;
  /** What the Coordinator had before. */
  readonly earlierProxy: string | undefined;
  readonly coordinatorHost: WantedHost | undefined;
}

/** Whether the Initializer removes a guest's default deny, which would stay where it installs no rules of its own. */
function liftsDefaultDeny(
  { ingress, keepDefaultDeny }: PodAnnotations,
  mode: IngressMode,
  platform: Platform,
): boolean {
  // The software TEE has no guest.
  return (ingress === undefined || mode === "bind") && !keepDefaultDeny && platform !== "simulated";
}

/** A new object each time: YAML would make aliases of equal ones. */
const healthcheck = (): object => ({ exec: { command: [...ownCommand("initializer"), "healthcheck"] } });

/**
 * What makes it stay: a native sidecar, on which nothing else of the pod waits once it has certificates. The Coordinator may
 * be away for long, and a container that is killed and started again gets no certificate sooner: the probe fails for a day.
 */
const sidecar = (): Partial<Container> => ({
  restartPolicy: "Always",
  startupProbe: { ...healthcheck(), periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 86_400 },
});

/** Without what makes it a sidecar: one that is to stay gets it anew. */
function once(before: Container): Container {
  const { restartPolicy: _, startupProbe, ...others } = before;
  const isOwn = isDeepStrictEqual(startupProbe?.exec, (healthcheck() as Container["startupProbe"])?.exec);
  return startupProbe === undefined || isOwn ? others : { ...others, startupProbe };
}

/**
 * Not privileged: the agents of Contrast's guest images mount configfs, writable, into every container and show it
 * /dev/sev-guest, and root may use both.
 */
export function initializer(
  before: Container | undefined,
  annotations: PodAnnotations,
  { platform, mode, user, collateralProxy, earlierProxy, coordinatorHost }: InitializerOptions,
): Container {
  const { ingress, adminPort, openAttestationApi, renew, secretTemplates } = annotations;
  const lifts = liftsDefaultDeny(annotations, mode, platform);
  const closes = ingress !== undefined && mode === "transparent";
  // Guests may have CoCo's attestation API, which it keeps from the pod by the packet filter. The software TEE has no guest.
  const guards = platform !== "simulated" && !openAttestationApi;
  // The certificate of the chip comes from where the Coordinator gets what it asks for, unless a user says otherwise.
  const own = before?.env?.find(({ name }) => name === COLLATERAL_PROXY);
  const asksThrough = own === undefined || own.value === earlierProxy ? collateralProxy : undefined;
  const host = before?.env?.find(({ name }) => name === "COORDINATOR_HOST")?.value ?? undefined;
  return ownContainer(renew ? before : before && once(before), {
    name: INITIALIZER,
    program: "initializer",
    ...(renew && { words: ["keep"] }),
    variables: {
      COORDINATOR_HOST: keptOrWantedHost(host, coordinatorHost),
      ...(platform === "simulated" && SIMULATED_VARIABLES),
      // Set but empty means that every port is closed to who is not led to the proxy.
      ...(ingress !== undefined && {
        CONTRAST_INGRESS_PROXY_CONFIG: ingress,
        ...(adminPort !== undefined && { CONTRAST_ADMIN_PORT: adminPort }),
        // As the mesh proxy is told, so that both mean the same ports.
        ...(mode === "bind" && { [INGRESS_MODE]: mode }),
      }),
      ...(lifts && { CONTRAST_LIFT_DEFAULT_DENY: "1" }),
      ...(openAttestationApi && { [OPEN_ATTESTATION_API]: "1" }),
      ...(Object.keys(secretTemplates).length > 0 && { [SECRET_TEMPLATES]: printTemplates(secretTemplates) }),
      ...(asksThrough !== undefined && { [COLLATERAL_PROXY]: asksThrough }),
    },
    ownedVariables: [
      ...Object.keys(SIMULATED_VARIABLES),
      "CONTRAST_INGRESS_PROXY_CONFIG",
      "CONTRAST_ADMIN_PORT",
      INGRESS_MODE,
      "CONTRAST_LIFT_DEFAULT_DENY",
      OPEN_ATTESTATION_API,
      SECRET_TEMPLATES,
    ],
    user,
    capabilities: lifts || closes || guards ? FILTER_CAPABILITIES : [],
    defaults: {
      ...(renew && sidecar()),
      resources: { requests: { cpu: "10m", memory: "128Mi" }, limits: { memory: "128Mi" } },
    },
  });
}
