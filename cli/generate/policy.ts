import type { Container, PodSpec } from "./pod-spec.ts";
import { POLICY_RULES } from "./policy-rules.ts";

/**
 * The policy of a pod: what the host may ask of its VM. A container runs only as the resource states it; there is no
 * registry here, so nothing is known about images but their names. An image's own ENTRYPOINT, CMD, ENV, WORKDIR and
 * USER count as empty: a container that depends on one of them is refused by the agent until the resource states it.
 * References like `$(NAME)` in commands and variables are not expanded and are refused in the same way.
 *
 * The same pod gives the same bytes. Annotations are no part of it, so the policy can stand in one.
 */
export interface PolicySubject {
  readonly kind: string;
  readonly name: string;
  readonly namespace: string | undefined;
}

/** The capabilities that containerd gives a container (oci.defaultUnixCaps). */
const DEFAULT_CAPABILITIES = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

/** The container that holds the namespaces of the pod. The agent has its image. */
const SANDBOX = {
  type: "sandbox",
  name: "",
  image: "",
  command: ["/pause"],
  args: [],
  cwd: "/",
  env: [],
  env_from_cluster: [],
  mounts: [],
  terminal: false,
  user: 65535,
  privileged: false,
  no_new_privileges: true,
  read_only_root: true,
  capabilities: DEFAULT_CAPABILITIES,
};

/** @returns Rego */
export function policyOf(subject: PolicySubject, pod: PodSpec): string {
  const data = {
    workload: { kind: subject.kind, namespace: subject.namespace ?? null, name: subject.name },
    containers: [
      SANDBOX,
      ...[...(pod.initContainers ?? []), ...pod.containers].map((container) => containerEntry(container, pod)),
    ],
  };
  // Neither may stand in a literal string of TOML, and both mean the same to Rego.
  const json = JSON.stringify(data, undefined, 2).replaceAll("'''", "''\\u0027").replaceAll("\u007f", "\\u007f");
  return `${POLICY_RULES}\npolicy_data := ${json}\n`;
}

/** The containers that start with what their image says: the agent refuses them. */
export function withoutCommand(pod: PodSpec): string[] {
  const containers = [...(pod.initContainers ?? []), ...pod.containers];
  return containers.filter(({ command }) => (command?.length ?? 0) === 0).map(({ name }) => name);
}

function containerEntry(container: Container, pod: PodSpec): object {
  const { env, securityContext: security } = container;
  return {
    type: "container",
    name: container.name,
    image: container.image,
    command: container.command ?? [],
    args: container.args ?? [],
    cwd: container.workingDir ?? "/",
    env: (env ?? []).filter(({ valueFrom }) => !valueFrom).map(({ name, value }) => `${name}=${value ?? ""}`),
    // Pod names, ConfigMaps and the like: the cluster chooses the value, and nobody checks it.
    env_from_cluster: (env ?? []).filter(({ valueFrom }) => valueFrom).map(({ name }) => name),
    mounts: (container.volumeMounts ?? []).map(({ name, mountPath, readOnly }) => ({
      destination: mountPath,
      source: sourceOf(name, pod),
      read_only: readOnly ?? false,
    })),
    terminal: container.tty ?? false,
    user: security?.runAsUser ?? pod.securityContext?.runAsUser ?? 0,
    privileged: security?.privileged ?? false,
    no_new_privileges: security?.allowPrivilegeEscalation === false,
    read_only_root: security?.readOnlyRootFilesystem ?? false,
    capabilities: capabilitiesOf(security?.capabilities ?? {}),
  };
}

/** Where a volume is inside the VM. Memory is the VM's own; the host can write into everything else. */
function sourceOf(volume: string, pod: PodSpec): string {
  const inMemory = pod.volumes?.find(({ name }) => name === volume)?.emptyDir?.medium === "Memory";
  return inMemory ? `/run/kata-containers/sandbox/ephemeral/${volume}` : "/run/kata-containers/shared/containers/";
}

/** As containerd does it: what is dropped goes, then what is added comes. */
function capabilitiesOf({
  add,
  drop,
}: {
  add?: string[] | null | undefined;
  drop?: string[] | null | undefined;
}): string[] {
  const full = (name: string): string => (name.startsWith("CAP_") ? name : `CAP_${name}`);
  const dropped = new Set((drop ?? []).map(full));
  const kept = dropped.has("CAP_ALL") ? [] : DEFAULT_CAPABILITIES.filter((name) => !dropped.has(name));
  return [...new Set([...kept, ...(add ?? []).map(full)])].toSorted();
}
