import type { ImageConfig } from "../registry/resolved-image.ts";
import type { Container, PodSpec } from "../kubernetes/pod-spec.ts";
import { type ConfigOf, withStatedConfig } from "./config-variables.ts";
import { capabilitiesOf, DEFAULT_CAPABILITIES } from "./capabilities.ts";
import { commandOf, execCommandsOf } from "./command.ts";
import { environmentOf, SANDBOX_ENVIRONMENT } from "./environment.ts";
import { imageNames } from "./image-names.ts";
import { type Mounts, mountsOf, sandboxMounts, storagesOf } from "./mounts.ts";
import { userOf } from "./user.ts";

/** What a container has to be for the agent to create it. The rules compare it with the request; so do people. */

/**
 * @param config of the pod's namespace
 * @param after the containers that have to be started before
 */
export function containerEntry(
  container: Container,
  pod: PodSpec,
  image: ImageConfig,
  config: ConfigOf,
  after: readonly string[],
): object {
  const { securityContext: security } = container;
  const privileged = security?.privileged ?? false;
  const stated = withStatedConfig(container, config);
  const mounts = mountsOf(stated, pod, image);
  return {
    type: "container",
    name: container.name,
    image: container.image,
    image_names: imageNames(container.image),
    after,
    command: commandOf(stated, pod, image),
    // The kubelet expands these with the values of `env` alone.
    exec: execCommandsOf(container),
    ...environmentOf(stated, pod, image),
    cwd: container.workingDir || image.workingDir || "/",
    terminal: container.tty ?? false,
    ...userOf(container, pod, image),
    privileged,
    no_new_privileges: security?.allowPrivilegeEscalation === false,
    read_only_root: security?.readOnlyRootFilesystem ?? false,
    capabilities: capabilitiesOf(container),
    masked_paths: !privileged && (security?.procMount ?? "Default") === "Default",
    shared_pid: pod.shareProcessNamespace ?? false,
    namespaces: namespacesOf(pod),
    sysctls: {},
    mounts,
    mount_propagation: mountPropagationOf(mounts),
    storages: storagesOf(container, pod),
    fs_group: pod.securityContext?.fsGroup ?? null,
    devices: (container.volumeDevices ?? []).map(({ devicePath }) => devicePath),
  };
}

/** The container that holds the namespaces of the pod. The agent has its image, and starts nothing else for it. */
export function sandboxEntry(pod: PodSpec): object {
  return {
    type: "sandbox",
    name: "",
    image: "pause",
    image_names: ["pause"],
    after: [],
    command: ["/pause"],
    exec: [],
    ...SANDBOX_ENVIRONMENT,
    cwd: "/",
    terminal: false,
    // That of the pause image, which may have none.
    users: [pod.securityContext?.runAsUser ?? [65535, 0]].flat(),
    privileged: false,
    no_new_privileges: true,
    read_only_root: true,
    capabilities: DEFAULT_CAPABILITIES,
    masked_paths: true,
    shared_pid: false,
    namespaces: namespacesOf(pod),
    sysctls: Object.fromEntries((pod.securityContext?.sysctls ?? []).map(({ name, value }) => [name, value])),
    mounts: sandboxMounts(pod),
    mount_propagation: "",
    storages: [],
    fs_group: null,
    devices: [],
  };
}

/** What counts for an image that nobody could ask about. */
export const NOTHING_KNOWN: ImageConfig = { entrypoint: [], cmd: [], env: [], workingDir: "", user: "", volumes: [] };

/** Those that containerd names; the network's and the processes' belong to the VM. */
function namespacesOf({ hostIPC, hostNetwork }: PodSpec): string[] {
  return [...(hostIPC === true ? [] : ["ipc"]), "mount", ...(hostNetwork === true ? [] : ["uts"])];
}

/** As containerd sets it for the whole container, where a mount of it propagates. */
function mountPropagationOf(mounts: Mounts): string {
  const all = new Set(Object.values(mounts).flatMap(({ options }) => options));
  return ["rshared", "rslave"].find((propagation) => all.has(propagation)) ?? "";
}
