import type { Fault } from "../../runtime/environment.ts";
import { VERSION } from "../../runtime/version.ts";
import type { PodAnnotations } from "./annotations.ts";
import type { ImageReplacements } from "./image-replacements.ts";
import { type Platform, runtimeClassName } from "./platforms.ts";
import type { Container, EnvironmentVariable, PodSpec, VolumeMount } from "./pod-spec.ts";

/**
 * Puts the Initializer and the mesh proxy into a pod. What it puts there it finds again by its name, so that a second
 * time changes nothing; what a user added to these containers stays.
 */

export interface InjectOptions {
  readonly platform: Platform;
  readonly skipInitializer: boolean;
  readonly skipServiceMesh: boolean;
  readonly imageReplacements: ImageReplacements;
}

const INITIALIZER = "contrast-initializer";
const MESH_PROXY = "contrast-mesh-proxy";
const VOLUME = "contrast-tls-certs";
const MOUNT_PATH = "/tls-config";

/** The variables that belong to `generate`: it sets them, and takes them away where they are not wanted any more. */
const INITIALIZER_VARIABLES = [
  "CONTRAST_TEE",
  "CONTRAST_ALLOW_INSECURE",
  "CONTRAST_SIMULATED_TEE_DIR",
  "CONTRAST_LIFT_DEFAULT_DENY",
];
const MESH_PROXY_VARIABLES = ["CONTRAST_INGRESS_PROXY_CONFIG", "CONTRAST_EGRESS_PROXY_CONFIG", "CONTRAST_ADMIN_PORT"];

/**
 * @param pod is changed
 * @returns what stands in the way, relative to the pod's spec
 */
export function inject(pod: PodSpec, annotations: PodAnnotations, options: InjectOptions): Fault[] {
  pod.runtimeClassName = runtimeClassName(options.platform);
  const initContainers = [...(pod.initContainers ?? [])];
  let faults: Fault[] = [];
  // The Coordinator hands out certificates; it has nobody to get one from.
  if (annotations.role !== "coordinator") {
    const initializer = !options.skipInitializer && !annotations.skipInitializer;
    if (initializer) putInitializer(initContainers, options.platform, annotations);
    if (!options.skipServiceMesh) putMeshProxy(initContainers, annotations);
    const mesh = !options.skipServiceMesh && wantsMesh(annotations);
    setInitContainers(pod, initContainers);
    if (initializer || mesh) faults = shareCertificates(pod);
  }
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
    container.image = options.imageReplacements.get(container.image) ?? container.image;
  }
  return faults;
}

function wantsMesh({ ingress, egress, adminPort }: PodAnnotations): boolean {
  return ingress !== undefined || egress !== undefined || adminPort !== undefined;
}

/** First of all: the others may need its certificates. */
function putInitializer(containers: Container[], platform: Platform, annotations: PodAnnotations): void {
  const before = take(containers, INITIALIZER);
  // Where a mesh proxy guards the ports, it lifts the guest's default deny itself. The software TEE has no guest.
  const lifts = annotations.ingress === undefined && platform !== "simulated";
  const host = before?.env?.find(({ name }) => name === "COORDINATOR_HOST");
  const variables = {
    COORDINATOR_HOST: host?.value ?? "coordinator",
    ...(platform === "simulated" && {
      CONTRAST_TEE: "simulated",
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_SIMULATED_TEE_DIR: "/simulated-tee",
    }),
    ...(lifts && { CONTRAST_LIFT_DEFAULT_DENY: "1" }),
  };
  const securityContext = mayFilter(before?.securityContext, lifts);
  containers.unshift({
    ...before,
    name: INITIALIZER,
    image: `contrast/initializer:${VERSION}`,
    env: mergeEnvironment(before?.env, variables, INITIALIZER_VARIABLES),
    ...(securityContext !== undefined && { securityContext }),
  });
}

/** What iptables takes, its legacy backend included: guest images deny by that one. */
const FILTER_CAPABILITIES = ["NET_ADMIN", "NET_RAW"];

function mayFilter(before: Container["securityContext"], may: boolean): Container["securityContext"] {
  const others = before?.capabilities?.add?.filter((name) => !FILTER_CAPABILITIES.includes(name)) ?? [];
  const add = may ? [...others, ...FILTER_CAPABILITIES] : others;
  if (add.length === (before?.capabilities?.add ?? []).length) return before;
  return { ...before, capabilities: { ...before?.capabilities, add } };
}

/** Right behind the Initializer; it runs as long as the pod, so it is a sidecar (Kubernetes 1.29). */
function putMeshProxy(containers: Container[], annotations: PodAnnotations): void {
  const before = take(containers, MESH_PROXY);
  if (!wantsMesh(annotations)) return;
  const variables = {
    // Set but empty means that every port needs a client certificate.
    ...(annotations.ingress !== undefined && { CONTRAST_INGRESS_PROXY_CONFIG: annotations.ingress }),
    ...(annotations.egress !== undefined && { CONTRAST_EGRESS_PROXY_CONFIG: annotations.egress }),
    ...(annotations.adminPort !== undefined && { CONTRAST_ADMIN_PORT: annotations.adminPort }),
  };
  const index = containers.findIndex(({ name }) => name === INITIALIZER) + 1;
  containers.splice(index, 0, {
    ...before,
    name: MESH_PROXY,
    image: `contrast/mesh-proxy:${VERSION}`,
    restartPolicy: "Always",
    env: mergeEnvironment(before?.env, variables, MESH_PROXY_VARIABLES),
    securityContext: { ...before?.securityContext, capabilities: { add: ["NET_ADMIN"], drop: ["ALL"] } },
  });
}

function take(containers: Container[], name: string): Container | undefined {
  const index = containers.findIndex((container) => container.name === name);
  return index < 0 ? undefined : containers.splice(index, 1)[0];
}

function setInitContainers(pod: PodSpec, containers: Container[]): void {
  if (containers.length > 0) pod.initContainers = containers;
  else if (pod.initContainers?.length !== 0) delete pod.initContainers;
}

function mergeEnvironment(
  before: readonly EnvironmentVariable[] | null | undefined,
  wanted: Readonly<Record<string, string>>,
  owned: readonly string[],
): EnvironmentVariable[] {
  const kept = (before ?? [])
    .filter(({ name }) => Object.hasOwn(wanted, name) || !owned.includes(name))
    .map((variable) => {
      const value = wanted[variable.name];
      return value === undefined ? variable : { name: variable.name, value };
    });
  const missing = Object.entries(wanted).filter(([name]) => !kept.some((variable) => variable.name === name));
  return [...kept, ...missing.map(([name, value]) => ({ name, value }))];
}

/** The volume with key and certificates: in memory, for the host reads the disk; written by the Initializer alone. */
function shareCertificates(pod: PodSpec): Fault[] {
  const volumes = pod.volumes ?? [];
  const volume = { name: VOLUME, emptyDir: { medium: "Memory" } };
  const index = volumes.findIndex(({ name }) => name === VOLUME);
  pod.volumes = index < 0 ? [...volumes, volume] : volumes.with(index, volume);

  const faults: Fault[] = [];
  for (const field of ["initContainers", "containers"] as const) {
    for (const [at, container] of (pod[field] ?? []).entries()) {
      const mounts = container.volumeMounts ?? [];
      if (mounts.some(({ name }) => name === VOLUME)) continue;
      const taken = mounts.findIndex(({ mountPath }) => mountPath === MOUNT_PATH);
      if (taken >= 0) {
        faults.push({
          where: `${field}[${at}].volumeMounts[${taken}]`,
          got: `another volume at ${MOUNT_PATH}`,
          want: VOLUME,
        });
      }
      const mount: VolumeMount = { name: VOLUME, mountPath: MOUNT_PATH };
      container.volumeMounts = [...mounts, container.name === INITIALIZER ? mount : { ...mount, readOnly: true }];
    }
  }
  return faults;
}
