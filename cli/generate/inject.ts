import { MESH_PROXY } from "../../policy/own-images.ts";
import type { PodAnnotations } from "./annotations.ts";
import { CERTIFICATES } from "./certificates.ts";
import type { WantedHost } from "./coordinator-host.ts";
import { type ImageReplacements, replaceImage } from "./image-replacements.ts";
import { INITIALIZER, initializer } from "./initializer.ts";
import { meshProxy, wantsMesh } from "./mesh-proxy-container.ts";
import { type IngressMode, ingressModeOf } from "./ingress-mode.ts";
import { PLAIN_USER, ROOT, take } from "./own-container.ts";
import { type Platform, runtimeClassName } from "./platforms.ts";
import type { Container, PodSpec, Volume, VolumeMount } from "../../kubernetes/pod-spec.ts";
import type { Sidecar } from "./sidecars.ts";
import { mountSimulatedTee, tellOfSimulatedTee } from "./simulated-tee.ts";
import { putVolumeContainers } from "./volume-container.ts";

/**
 * Puts the Initializer and the mesh proxy into a pod. What it puts there it finds again by its name, so that a second
 * time changes nothing.
 */

export interface InjectOptions {
  readonly platform: Platform;
  readonly skipInitializer: boolean;
  readonly skipServiceMesh: boolean;
  readonly sidecar: Sidecar;
  readonly imageReplacements: ImageReplacements;
  /** What is wanted, or else what the Coordinator among the pods has. */
  readonly collateralProxy?: string | undefined;
  /** `CONTRAST_COLLATERAL_PROXY` of the Coordinator among the pods as the file has it, if it has one. */
  readonly earlierProxy?: string | undefined;
  /** `COORDINATOR_HOST` of Initializers; undefined: as they have it. */
  readonly coordinatorHost?: WantedHost | undefined;
  /** The Secret with the pod's software TEE; undefined: the platform has hardware. */
  readonly simulatedTeeSecret?: string | undefined;
  /** Names of the claim templates of the pod's StatefulSet. */
  readonly claimTemplates?: readonly string[] | undefined;
}

/**
 * The volume that Edgeless Systems' Contrast writes the same into, mounted at /contrast. Pods that were made for it get this
 * one in its place, which has the same paths.
 */
const FORMER_VOLUME = "contrast-secrets";

/** @param pod is changed */
export function inject(pod: PodSpec, annotations: PodAnnotations, options: InjectOptions): void {
  pod.runtimeClassName = runtimeClassName(options.platform);
  const initContainers = [...(pod.initContainers ?? [])];
  const containers = [...pod.containers];
  const skipsInitializer = options.skipInitializer || annotations.skipInitializer;
  if (annotations.role === "coordinator") {
    // It hands out certificates, and has nobody to get one from.
    take(initContainers, INITIALIZER);
    takeMeshProxy(initContainers, containers);
    for (const container of containers) tellOfSimulatedTee(container, options.platform === "simulated");
    mountSimulatedTee(pod, containers, options.simulatedTeeSecret);
  } else {
    const proxy = [...initContainers, ...containers].find(({ name }) => name === MESH_PROXY);
    const mode = ingressModeOf(annotations, proxy);
    const user = userFor(annotations, mode, options.platform, skipsInitializer);
    if (!skipsInitializer) {
      // Before the init containers of the pod's owner, too: they may listen, and nothing is closed before it ran.
      const before = take(initContainers, INITIALIZER);
      const { platform, collateralProxy, earlierProxy, coordinatorHost } = options;
      initContainers.unshift(
        initializer(before, annotations, { platform, mode, user, collateralProxy, earlierProxy, coordinatorHost }),
      );
    }
    if (!options.skipServiceMesh) {
      const before = takeMeshProxy(initContainers, containers);
      const { sidecar } = options;
      if (wantsMesh(annotations)) {
        putMeshProxy(
          initContainers,
          containers,
          meshProxy(before, annotations, { containers, sidecar, mode, user }),
          sidecar,
        );
      }
    }
    const { claimTemplates = [], coordinatorHost, collateralProxy, earlierProxy } = options;
    const volumes = { claimTemplates, coordinatorHost, collateralProxy, earlierProxy };
    putVolumeContainers(pod, initContainers, annotations, volumes);
    if (!skipsInitializer || (!options.skipServiceMesh && wantsMesh(annotations))) {
      shareCertificates(pod, [...initContainers, ...containers]);
    }
    const holder = initContainers.find(({ name }) => name === INITIALIZER);
    mountSimulatedTee(pod, holder === undefined ? [] : [holder], holder && options.simulatedTeeSecret);
  }
  if (initContainers.length > 0) pod.initContainers = initContainers;
  else if (pod.initContainers?.length !== 0) delete pod.initContainers;
  pod.containers = containers;
  for (const container of [...initContainers, ...containers]) {
    container.image = replaceImage(container.image, options.imageReplacements);
  }
}

/** Root where something of root's is needed, and both the same, because one reads what the other writes. */
function userFor(
  annotations: PodAnnotations,
  mode: IngressMode,
  platform: Platform,
  skipsInitializer: boolean,
): number {
  const makesRules = annotations.ingress !== undefined && mode === "transparent";
  return platform === "simulated" && !makesRules && !skipsInitializer ? PLAIN_USER : ROOT;
}

function putMeshProxy(initContainers: Container[], containers: Container[], proxy: Container, sidecar: Sidecar): void {
  // Others may connect as soon as they start.
  if (sidecar === "container") containers.unshift(proxy);
  else initContainers.splice(initContainers.findIndex(({ name }) => name === INITIALIZER) + 1, 0, proxy);
}

function takeMeshProxy(initContainers: Container[], containers: Container[]): Container | undefined {
  const [first, second] = [take(initContainers, MESH_PROXY), take(containers, MESH_PROXY)];
  return first ?? second;
}

/** Where a volume comes from, by the name of its field; what says nothing is empty. */
export function sourceOf(volume: Volume): string {
  return Object.keys(volume).find((key) => key !== "name" && (volume[key] ?? null) !== null) ?? "emptyDir";
}

/** In memory, for the host reads the disk; written by the Initializer alone. */
function shareCertificates(pod: PodSpec, containers: readonly Container[]): void {
  const { volume: name, mountPath } = CERTIFICATES;
  replaceFormerVolume(pod, containers);
  const volumes = pod.volumes ?? [];
  const before = volumes.find((volume) => volume.name === name);
  if (before === undefined) pod.volumes = [...volumes, { name, emptyDir: { medium: "Memory" } }];
  else if (sourceOf(before) === "emptyDir") before.emptyDir = { ...before.emptyDir, medium: "Memory" };

  for (const container of containers) {
    const writes = container.name === INITIALIZER;
    const mounts = (container.volumeMounts ?? []).map((mount): VolumeMount => {
      return mount.name === name && !writes ? { ...mount, readOnly: true } : mount;
    });
    const has = mounts.some((mount) => mount.name === name);
    const mount: VolumeMount = writes ? { name, mountPath } : { name, mountPath, readOnly: true };
    container.volumeMounts = has ? mounts : [...mounts, mount];
  }
}

/** Applications find at their paths what they found there; our own containers have one mount, at the usual place. */
function replaceFormerVolume(pod: PodSpec, containers: readonly Container[]): void {
  const former = pod.volumes?.find((volume) => volume.name === FORMER_VOLUME);
  if (former !== undefined && sourceOf(former) !== "emptyDir") return;
  if (former !== undefined) pod.volumes = pod.volumes?.filter((volume) => volume !== former);
  for (const container of containers) {
    const mounts = container.volumeMounts ?? [];
    if (!mounts.some((mount) => mount.name === FORMER_VOLUME)) continue;
    const isOwn = container.name === INITIALIZER || container.name === MESH_PROXY;
    container.volumeMounts = isOwn
      ? mounts.filter((mount) => mount.name !== FORMER_VOLUME)
      : mounts.map((mount) => (mount.name === FORMER_VOLUME ? { ...mount, name: CERTIFICATES.volume } : mount));
  }
}
