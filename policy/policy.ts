import { type FindConfig, NOTHING_CONFIGURED } from "../kubernetes/config-values.ts";
import type { ImageConfig, ResolvedImages } from "../registry/resolved-image.ts";
import { MESH_PROXY, ownImageConfig } from "./own-images.ts";
import { podNames } from "../kubernetes/kinds.ts";
import { allContainers, type Container, type PodSpec } from "../kubernetes/pod-spec.ts";
import { commandOf } from "./command.ts";
import type { ConfigOf } from "./config-variables.ts";
import { containerEntry, NOTHING_KNOWN, sandboxEntry } from "./container-entry.ts";
import { INDEX_VARIABLE } from "./environment.ts";
import { formatJson } from "./format.ts";
import { imageVolumesOf } from "./mounts.ts";
import { type Permission, permissionsOf } from "./permissions.ts";
import { POLICY_RULES } from "./policy-rules.ts";
import { userOf } from "./user.ts";

/**
 * The policy of a pod: what the host may ask of its VM (docs/policies.md). A container runs only as the resource and its
 * image's configuration state it. What is not known about an image counts as empty, and an image without a digest is
 * refused: the policy never becomes wider by what could not be found out.
 *
 * The same pod gives the same bytes. Annotations are no part of it, so the policy can stand in one.
 */
export interface PolicySubject {
  /** As `FoundKind.name` has it. */
  readonly kind: string;
  readonly name: string;
  readonly namespace: string | undefined;
  /** The pods of a Job with `completionMode: Indexed`, which have a number each. */
  readonly indexed?: boolean | undefined;
}

export interface PolicyOptions {
  /** The policy refuses addresses and routes of IPv6. */
  readonly ipv4Only?: boolean | undefined;
  /** What the host may do beside what every pod needs. Undefined: what every pod has. */
  readonly permissions?: readonly Permission[] | undefined;
  /** Values of ConfigMaps and Secrets that the policy names; undefined: none, the cluster chooses them. */
  readonly config?: FindConfig | undefined;
}

/** @returns Rego */
export function policyOf(
  subject: PolicySubject,
  template: PodSpec,
  images: ResolvedImages,
  { ipv4Only = false, permissions = permissionsOf(), config: find = NOTHING_CONFIGURED }: PolicyOptions = {},
): string {
  const { kind, name, namespace, indexed = false } = subject;
  const pod = indexed ? withIndex(template) : template;
  const config: ConfigOf = (...reference) => find(...reference, namespace);
  const init = pod.initContainers ?? [];
  const names = init.map((container) => container.name);
  // Where it is no init container, it is the first of the others.
  const proxies = pod.containers.map((container) => container.name).filter((name) => name === MESH_PROXY);
  const data = {
    workload: { kind, namespace: namespace ?? null, name },
    pod_name: podNames(kind, name),
    hostname: pod.hostname ?? "",
    indexed,
    ipv6: !ipv4Only,
    permissions,
    containers: [
      sandboxEntry(pod),
      ...init.map((container, index) =>
        containerEntry(container, pod, configOf(container, images), config, names.slice(0, index)),
      ),
      ...pod.containers.map((container) => {
        const before = container.name === MESH_PROXY ? names : [...names, ...proxies];
        return containerEntry(container, pod, configOf(container, images), config, before);
      }),
    ],
  };
  return `${POLICY_RULES}\npolicy_data := ${formatJson(data)}\n`;
}

function withIndex(pod: PodSpec): PodSpec {
  const added = (container: Container): Container => {
    const env = container.env ?? [];
    return env.some(({ name }) => name === INDEX_VARIABLE.name)
      ? container
      : { ...container, env: [...env, INDEX_VARIABLE] };
  };
  const { initContainers } = pod;
  return {
    ...pod,
    containers: pod.containers.map(added),
    ...(initContainers && { initContainers: initContainers.map(added) }),
  };
}

/** Containers that start with nothing: neither the resource nor the image, as far as it is known, states a command. */
export function withoutCommand(pod: PodSpec, images: ResolvedImages): string[] {
  return namesOf(pod, (container) => commandOf(container, pod, configOf(container, images)).length === 0);
}

/** Containers whose image names a user whose number is not known: the policy refuses them. They have to state `runAsUser`. */
export function withoutUser(pod: PodSpec, images: ResolvedImages): string[] {
  return namesOf(pod, (container) => userOf(container, pod, configOf(container, images)).user === null);
}

/**
 * Containers whose image wants volumes that the pod does not give, and their paths: they are on the host, which can read
 * and change them. An `emptyDir` there would be in the VM.
 */
export function withImageVolumes(pod: PodSpec, images: ResolvedImages): ReadonlyMap<string, readonly string[]> {
  const entries = allContainers(pod).map(
    (container) => [container.name, imageVolumesOf(container, configOf(container, images))] as const,
  );
  return new Map(entries.filter(([, paths]) => paths.length > 0));
}

function namesOf(pod: PodSpec, isMeant: (container: Container) => boolean): string[] {
  return allContainers(pod)
    .filter(isMeant)
    .map(({ name }) => name);
}

function configOf({ image }: Container, images: ResolvedImages): ImageConfig {
  return images.get(image)?.config ?? ownImageConfig(image) ?? NOTHING_KNOWN;
}
