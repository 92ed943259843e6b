import type { Container, PodSpec } from "../../kubernetes/pod-spec.ts";
import { MESH_PROXY, ownImageConfig } from "../../policy/own-images.ts";
import { NOTHING_KNOWN } from "../../policy/container-entry.ts";
import { userOf } from "../../policy/user.ts";
import type { ImageConfig, ResolvedImages } from "../../registry/resolved-image.ts";
import { INITIALIZER } from "./initializer.ts";

/**
 * Who reads `key.pem` and `workload-secret-seed` besides root: a group, which the Initializer itself runs in, so that
 * the files get it without any capability. They are never readable for everybody.
 */
const KEY_MODE = "CONTRAST_KEY_MODE";
const GROUP_READS = "0440";

export interface KeyGroup {
  /** Undefined: root alone reads the key. */
  readonly group: number | undefined;
  /** The containers get the group as a supplementary one: which group they have, only their image knows. */
  readonly isAdded: boolean;
  /** The containers that are not root and have no group in common. */
  readonly apart: readonly string[];
}

/**
 * The group of the pod's volumes, of its applications, or the one that has the number of their user.
 *
 * @param annotation the group, or empty for none; undefined: it follows from the pod
 */
export function keyGroupOf(pod: PodSpec, annotation: string | undefined, images: ResolvedImages): KeyGroup {
  const nobody = { group: undefined, isAdded: false, apart: [] };
  if (annotation !== undefined) return annotation === "" ? nobody : { ...nobody, group: Number(annotation) };
  const fsGroup = pod.securityContext?.fsGroup ?? undefined;
  if (fsGroup !== undefined) return { ...nobody, group: fsGroup };
  const applications = [...(pod.initContainers ?? []), ...pod.containers].filter(
    ({ name }) => name !== INITIALIZER && name !== MESH_PROXY,
  );
  const members = applications.flatMap((container) => memberOf(container, pod, configOf(container, images)) ?? []);
  const [first] = members;
  if (first === undefined) return nobody;
  if (members.some(({ group }) => group !== first.group)) {
    return { ...nobody, apart: members.map(({ name, user, group }) => `${name} (${user}:${group})`) };
  }
  return { group: first.group, isAdded: members.some(({ isStated }) => !isStated), apart: [] };
}

interface Member {
  readonly name: string;
  readonly user: number;
  readonly group: number;
  /** Else it is a guess, which becomes true by adding the group. */
  readonly isStated: boolean;
}

/** @returns undefined for root, and for a user that only the image knows by name */
function memberOf(container: Container, pod: PodSpec, image: ImageConfig): Member | undefined {
  const { user } = userOf(container, pod, image);
  if (user === null || user === 0) return undefined;
  const stated = container.securityContext?.runAsGroup ?? pod.securityContext?.runAsGroup ?? undefined;
  const statesUser =
    (container.securityContext?.runAsUser ?? pod.securityContext?.runAsUser ?? undefined) !== undefined;
  const [, imageGroup = ""] = image.user.split(":");
  const group = stated ?? (!statesUser && /^[0-9]{1,10}$/.test(imageGroup) ? Number(imageGroup) : undefined);
  return { name: container.name, user, group: group ?? user, isStated: group !== undefined };
}

/**
 * Gives the key to the group, or takes back what was given before. A `CONTRAST_KEY_MODE` of a user's stays.
 *
 * @param pod is changed, if it has an Initializer
 */
export function giveKey(pod: PodSpec, { group, isAdded }: KeyGroup): void {
  const initializer = pod.initContainers?.find(({ name }) => name === INITIALIZER);
  if (initializer === undefined) return;
  const { runAsGroup: before, ...security } = initializer.securityContext ?? {};
  initializer.securityContext = group === undefined ? security : { ...security, runAsGroup: group };
  const env = initializer.env ?? [];
  const mode = env.find(({ name }) => name === KEY_MODE);
  if (group !== undefined && mode === undefined) initializer.env = [...env, { name: KEY_MODE, value: GROUP_READS }];
  const isTakenBack = group === undefined && (before ?? undefined) !== undefined && mode?.value === GROUP_READS;
  if (isTakenBack) initializer.env = env.filter((variable) => variable !== mode);
  if (group === undefined || !isAdded) return;
  const groups = pod.securityContext?.supplementalGroups ?? [];
  if (!groups.includes(group)) pod.securityContext = { ...pod.securityContext, supplementalGroups: [...groups, group] };
}

function configOf({ image }: Container, images: ResolvedImages): ImageConfig {
  return images.get(image)?.config ?? ownImageConfig(image) ?? NOTHING_KNOWN;
}
