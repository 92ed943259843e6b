import type { PodAnnotations } from "./annotations.ts";
import { type ImageReplacements, replaceImage } from "./image-replacements.ts";
import { INITIALIZER, initializer } from "./initializer.ts";
import { MESH_PROXY, meshProxy, wantsMesh } from "./mesh-proxy-container.ts";
import { take } from "./own-container.ts";
import { type Platform, runtimeClassName } from "./platforms.ts";
import type { Container, PodSpec, Volume, VolumeMount } from "./pod-spec.ts";
import type { Sidecar } from "./sidecars.ts";

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
}

/** The volume with key and certificates, and where it is mounted. */
export const CERTIFICATES = { volume: "contrast-tls-certs", mountPath: "/tls-config" } as const;

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
  } else {
    if (!skipsInitializer) {
      initContainers.unshift(initializer(take(initContainers, INITIALIZER), annotations, options.platform));
    }
    if (!options.skipServiceMesh) putMeshProxy(initContainers, containers, annotations, options.sidecar);
    if (!skipsInitializer || (!options.skipServiceMesh && wantsMesh(annotations))) {
      shareCertificates(pod, [...initContainers, ...containers]);
    }
  }
  if (initContainers.length > 0) pod.initContainers = initContainers;
  else if (pod.initContainers?.length !== 0) delete pod.initContainers;
  pod.containers = containers;
  for (const container of [...initContainers, ...containers]) {
    container.image = replaceImage(container.image, options.imageReplacements);
  }
}

function putMeshProxy(
  initContainers: Container[],
  containers: Container[],
  annotations: PodAnnotations,
  sidecar: Sidecar,
): void {
  const before = takeMeshProxy(initContainers, containers);
  if (!wantsMesh(annotations)) return;
  const proxy = meshProxy(before, annotations, sidecar);
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
  const volumes = pod.volumes ?? [];
  const before = volumes.find((volume) => volume.name === name);
  if (before === undefined) pod.volumes = [...volumes, { name, emptyDir: { medium: "Memory" } }];
  else if (sourceOf(before) === "emptyDir") before.emptyDir = { ...before.emptyDir, medium: "Memory" };

  for (const container of containers) {
    const mounts = container.volumeMounts ?? [];
    if (mounts.some((mount) => mount.name === name)) continue;
    const mount: VolumeMount = { name, mountPath };
    container.volumeMounts = [...mounts, container.name === INITIALIZER ? mount : { ...mount, readOnly: true }];
  }
}
