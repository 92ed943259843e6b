import { ownCommand } from "../../policy/own-images.ts";
import type { Container, PodSpec, VolumeMount } from "../../kubernetes/pod-spec.ts";
import type { PodAnnotations } from "./annotations.ts";
import { CERTIFICATES } from "./certificates.ts";
import { keptOrWantedHost, type WantedHost } from "./coordinator-host.ts";
import { COLLATERAL_PROXY, INITIALIZER, OPEN_ATTESTATION_API } from "./initializer.ts";
import { ownContainer, ROOT } from "./own-container.ts";
import { mayBeVolumeContainer, type SecureVolume, volumeContainerName } from "./secure-volumes.ts";

/**
 * The containers that open encrypted volumes: each has one disk of the host's, mounts what is on it where the pod's other
 * containers see it, and stays as a native sidecar, for it is who closes it (docs/decisions/0050-secure-pv-privileges.md).
 */

/** Where the container has the disk, and where it mounts what is on it. */
export const VOLUME_DEVICE = "/dev/contrast-volume";
export const VOLUME_MOUNT = "/volume";

/** The variable with the name of the pod, where that is a part of the volume's. */
export const POD_NAME = "POD_NAME";

/** What is decided about a pod before these containers are made. */
export interface VolumeOptions {
  /** Names of the claim templates of the pod's StatefulSet. */
  readonly claimTemplates: readonly string[];
  readonly coordinatorHost: WantedHost | undefined;
  readonly collateralProxy: string | undefined;
  /** What the Coordinator had before. */
  readonly earlierProxy: string | undefined;
}

/** Whether `generate` has put it there. */
export function isVolumeContainer({ name, command }: Container): boolean {
  const own = [...ownCommand("initializer"), "volume"];
  return mayBeVolumeContainer(name) && own.every((word, index) => command?.[index] === word);
}

/**
 * Puts them behind the Initializer, or takes away those that are wanted no more.
 *
 * @param pod is changed, and its containers
 * @param initContainers of the pod; changed
 */
export function putVolumeContainers(
  pod: PodSpec,
  initContainers: Container[],
  annotations: PodAnnotations,
  options: VolumeOptions,
): void {
  const before = initContainers.filter((container) => isVolumeContainer(container));
  for (const container of before) initContainers.splice(initContainers.indexOf(container), 1);
  const { secureVolumes } = annotations;
  const made = secureVolumes.map((wanted) => {
    const own = before.find(({ name }) => name === volumeContainerName(wanted));
    return volumeContainer(own, wanted, annotations, options);
  });
  initContainers.splice(initContainers.findIndex(({ name }) => name === INITIALIZER) + 1, 0, ...made);
  for (const wanted of secureVolumes) {
    shareVolume(pod, wanted);
    for (const container of [...initContainers, ...pod.containers]) seeVolume(container, wanted);
  }
}

function volumeContainer(
  before: Container | undefined,
  wanted: SecureVolume,
  { openAttestationApi }: PodAnnotations,
  { claimTemplates, coordinatorHost, collateralProxy, earlierProxy }: VolumeOptions,
): Container {
  const variable = (name: string) => before?.env?.find((candidate) => candidate.name === name);
  const own = variable(COLLATERAL_PROXY);
  const asksThrough = own === undefined || own.value === earlierProxy ? collateralProxy : undefined;
  const isTemplate = claimTemplates.includes(wanted.device);
  const made = ownContainer(before, {
    name: volumeContainerName(wanted),
    program: "initializer",
    words: ["volume"],
    variables: {
      // Each pod of a StatefulSet has a claim of its own, and the name is a part of its key: that of the claim.
      ...(isTemplate && { [POD_NAME]: { valueFrom: { fieldRef: { fieldPath: "metadata.name" } } } }),
      CONTRAST_VOLUME_NAME: isTemplate ? `${wanted.device}-$(${POD_NAME})` : wanted.device,
      CONTRAST_VOLUME_DEVICE: VOLUME_DEVICE,
      CONTRAST_VOLUME_MOUNT: VOLUME_MOUNT,
      COORDINATOR_HOST: keptOrWantedHost(variable("COORDINATOR_HOST")?.value ?? undefined, coordinatorHost),
      ...(openAttestationApi && { [OPEN_ATTESTATION_API]: "1" }),
      ...(asksThrough !== undefined && { [COLLATERAL_PROXY]: asksThrough }),
    },
    ownedVariables: [POD_NAME, OPEN_ATTESTATION_API],
    user: ROOT,
    privileged: true,
    capabilities: [],
    defaults: {
      restartPolicy: "Always",
      startupProbe: {
        exec: { command: [...ownCommand("initializer"), "volume-healthcheck"] },
        periodSeconds: 1,
        timeoutSeconds: 5,
        // A day: to format a large disk takes hours, and one that is not allowed to waits for its owner.
        failureThreshold: 86_400,
      },
      resources: { requests: { cpu: "10m", memory: "256Mi" }, limits: { memory: "256Mi" } },
    },
  });
  const { volume: certificates, mountPath } = CERTIFICATES;
  return {
    ...made,
    restartPolicy: "Always",
    volumeDevices: [{ name: wanted.device, devicePath: VOLUME_DEVICE }],
    volumeMounts: [
      { name: wanted.volume, mountPath: VOLUME_MOUNT, mountPropagation: "Bidirectional" },
      { name: certificates, mountPath, readOnly: true },
    ],
  };
}

/** In memory: it is a place to mount at, and a disk for it would be one more of the host's. */
function shareVolume(pod: PodSpec, { volume: name }: SecureVolume): void {
  const volumes = pod.volumes ?? [];
  const before = volumes.find((volume) => volume.name === name);
  if (before === undefined) pod.volumes = [...volumes, { name, emptyDir: { medium: "Memory" } }];
  else if (before.emptyDir) before.emptyDir = { ...before.emptyDir, medium: "Memory" };
}

/** What its users wrote themselves stays, and is refused if it is something else. */
function seeVolume(container: Container, { volume }: SecureVolume): void {
  if (isVolumeContainer(container)) return;
  const isPlain = (mount: VolumeMount): boolean => mount.name === volume && (mount.mountPropagation ?? null) === null;
  if (!container.volumeMounts?.some(isPlain)) return;
  container.volumeMounts = container.volumeMounts.map((mount) =>
    isPlain(mount) ? { ...mount, mountPropagation: "HostToContainer" } : mount,
  );
}
