import { actionsOf, allContainers, type Container, type PodSpec } from "./pod-spec.ts";
import { placeIn, type ResourceFile } from "./resource-file.ts";
import { resources } from "./workloads.ts";

/**
 * The Pod Security Standards (https://kubernetes.io/docs/concepts/security/pod-security-standards/), as far as fields that
 * `generate` knows go: what a pod asks for that a level forbids.
 */
export const POD_SECURITY_LEVELS = ["privileged", "baseline", "restricted"] as const;
export type PodSecurityLevel = (typeof POD_SECURITY_LEVELS)[number];

const MODES = ["enforce", "warn", "audit"] as const;

/** A label `pod-security.kubernetes.io/enforce` or the like. */
export interface PodSecurityLabel {
  readonly mode: (typeof MODES)[number];
  readonly level: PodSecurityLevel;
  /** `file:line:column` */
  readonly place: string;
}

/** What the Namespaces among the files demand, by their names. */
export function podSecurityLabels(files: readonly ResourceFile[]): ReadonlyMap<string, readonly PodSecurityLabel[]> {
  const found = new Map<string, readonly PodSecurityLabel[]>();
  for (const file of files) {
    for (const [document, value] of file.values.entries()) {
      for (const { resource, path } of resources(value, [])) {
        if (resource["kind"] !== "Namespace" || resource["apiVersion"] !== "v1") continue;
        const { name, labels } = Object(resource["metadata"]) as { readonly name?: unknown; readonly labels?: unknown };
        const demanded = MODES.flatMap((mode): PodSecurityLabel[] => {
          const key = `pod-security.kubernetes.io/${mode}`;
          const wanted = (Object(labels) as Readonly<Record<string, unknown>>)[key];
          const level = POD_SECURITY_LEVELS.find((candidate) => candidate === wanted);
          const place = placeIn(file, document, [...path, "metadata", "labels", key]);
          return level === undefined ? [] : [{ mode, level, place }];
        });
        found.set(String(name), [...(found.get(String(name)) ?? []), ...demanded]);
      }
    }
  }
  return found;
}

/** What a level forbids of a pod: `web: capability NET_ADMIN`. */
export function forbiddenBy(level: PodSecurityLevel, pod: PodSpec): string[] {
  if (level === "privileged") return [];
  const ofPod = level === "baseline" ? BASELINE_POD : [...BASELINE_POD, ...RESTRICTED_POD];
  const ofContainer = level === "baseline" ? BASELINE_CONTAINER : [...BASELINE_CONTAINER, ...RESTRICTED_CONTAINER];
  return [
    ...ofPod.flatMap((rule) => rule(pod)),
    ...allContainers(pod).flatMap((container) =>
      ofContainer.flatMap((rule) => rule(container, pod)).map((what) => `${container.name}: ${what}`),
    ),
  ];
}

/** The strictest level that the pod fits. */
export function strictestLevel(pod: PodSpec): PodSecurityLevel {
  return POD_SECURITY_LEVELS.findLast((level) => forbiddenBy(level, pod).length === 0) ?? "privileged";
}

type PodRule = (pod: PodSpec) => string[];
type ContainerRule = (container: Container, pod: PodSpec) => string[];

const SAFE_SYSCTLS: ReadonlySet<string> = new Set([
  "kernel.shm_rmid_forced",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.ip_unprivileged_port_start",
  "net.ipv4.tcp_syncookies",
  "net.ipv4.ping_group_range",
  "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.tcp_keepalive_time",
  "net.ipv4.tcp_fin_timeout",
  "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes",
  "net.ipv4.tcp_rmem",
  "net.ipv4.tcp_wmem",
]);

const BASELINE_POD: readonly PodRule[] = [
  (pod) => (["hostNetwork", "hostPID", "hostIPC"] as const).filter((field) => pod[field] === true),
  ({ volumes }) => (volumes ?? []).filter(({ hostPath }) => hostPath).map(({ name }) => `volume ${name} is a hostPath`),
  ({ securityContext }) =>
    (securityContext?.sysctls ?? []).flatMap(({ name }) => (SAFE_SYSCTLS.has(name) ? [] : [`sysctl ${name}`])),
  ({ securityContext }) =>
    securityContext?.seccompProfile?.type === "Unconfined" ? ["seccompProfile Unconfined"] : [],
];

const BASELINE_CAPABILITIES: ReadonlySet<string> = new Set([
  "AUDIT_WRITE",
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "FSETID",
  "KILL",
  "MKNOD",
  "NET_BIND_SERVICE",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYS_CHROOT",
]);

const BASELINE_CONTAINER: readonly ContainerRule[] = [
  ({ securityContext }) => (securityContext?.privileged === true ? ["privileged"] : []),
  ({ securityContext }) => capabilitiesBeyond(BASELINE_CAPABILITIES, securityContext?.capabilities?.add),
  ({ securityContext }) => ((securityContext?.procMount ?? "Default") === "Default" ? [] : ["procMount"]),
  ({ securityContext }) =>
    securityContext?.seccompProfile?.type === "Unconfined" ? ["seccompProfile Unconfined"] : [],
  // From Kubernetes 1.34 on.
  (container) =>
    actionsOf(container).some(({ action }) => Boolean(action.httpGet?.host) || Boolean(action.tcpSocket?.host))
      ? ["a probe or hook with a host"]
      : [],
  ({ ports }) => ((ports ?? []).some((port) => Number(port["hostPort"] ?? 0) !== 0) ? ["hostPort"] : []),
];

const RESTRICTED_VOLUMES: ReadonlySet<string> = new Set([
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "image",
  "persistentVolumeClaim",
  "projected",
  "secret",
]);

const RESTRICTED_CAPABILITIES: ReadonlySet<string> = new Set(["NET_BIND_SERVICE"]);

const RESTRICTED_POD: readonly PodRule[] = [
  ({ volumes }) =>
    (volumes ?? []).flatMap(({ name, ...sources }) =>
      Object.keys(sources)
        .filter((source) => (sources[source] ?? null) !== null && !RESTRICTED_VOLUMES.has(source))
        .filter((source) => source !== "hostPath")
        .map((source) => `volume ${name} is a ${source}`),
    ),
  // Also where every container has another user.
  ({ securityContext }) => (securityContext?.runAsUser === 0 ? ["runAsUser of the pod is 0"] : []),
];

const RESTRICTED_CONTAINER: readonly ContainerRule[] = [
  ({ securityContext }) =>
    securityContext?.allowPrivilegeEscalation === false ? [] : ["allowPrivilegeEscalation is not false"],
  ({ securityContext: own }, { securityContext: shared }) =>
    (own?.runAsNonRoot ?? shared?.runAsNonRoot) === true ? [] : ["runAsNonRoot is not true"],
  ({ securityContext }) => (securityContext?.runAsUser === 0 ? ["runAsUser is 0"] : []),
  ({ securityContext: own }, { securityContext: shared }) =>
    ["RuntimeDefault", "Localhost"].includes((own?.seccompProfile ?? shared?.seccompProfile)?.type ?? "")
      ? []
      : ["seccompProfile is not RuntimeDefault"],
  ({ securityContext }) =>
    securityContext?.capabilities?.drop?.includes("ALL") === true ? [] : ["capabilities are not dropped"],
  ({ securityContext }) =>
    capabilitiesBeyond(RESTRICTED_CAPABILITIES, securityContext?.capabilities?.add).filter(
      (what) => !capabilitiesBeyond(BASELINE_CAPABILITIES, securityContext?.capabilities?.add).includes(what),
    ),
];

function capabilitiesBeyond(allowed: ReadonlySet<string>, added: readonly string[] | null | undefined): string[] {
  return (added ?? []).filter((name) => !allowed.has(name)).map((name) => `capability ${name}`);
}
