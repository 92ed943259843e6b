import type { ImageConfig } from "../registry/resolved-image.ts";
import type { Container, PodSpec } from "../kubernetes/pod-spec.ts";

/** Who a container runs as: what the resource states, or the USER of its image. */
export interface User {
  /** Null: the image names a user, and only its layers tell the number. The policy refuses such a container. */
  readonly user: number | null;
  /** Those that may be its group. */
  readonly groups: readonly number[];
  /** Those that it has besides. */
  readonly additional_groups: readonly number[];
  /** Whether those that /etc/group of the image gives to root may be there, too. */
  readonly system_groups: boolean;
}

export function userOf(container: Container, pod: PodSpec, image: ImageConfig): User {
  const [own, shared] = [container.securityContext, pod.securityContext];
  const stated = own?.runAsUser ?? shared?.runAsUser ?? undefined;
  const [imageUser = "", imageGroup = ""] = image.user.split(":");
  const user = stated ?? numberOf(imageUser);
  const group = own?.runAsGroup ?? shared?.runAsGroup ?? undefined;
  return {
    user,
    groups: group === undefined ? likelyGroups(user, stated === undefined ? numberOf(imageGroup) : null) : [group],
    additional_groups: additionalGroups(pod),
    system_groups: user === 0 && shared?.supplementalGroupsPolicy !== "Strict",
  };
}

/** Without a group in the resource, /etc/passwd of the image decides: for nearly all users it is their own, or root's. */
function likelyGroups(user: number | null, imageGroup: number | null): number[] {
  if (user === null || user === 0) return [0];
  return [...new Set([0, user, imageGroup ?? user])].toSorted((a, b) => a - b);
}

function additionalGroups({ securityContext }: PodSpec): number[] {
  const groups = [...(securityContext?.supplementalGroups ?? []), securityContext?.fsGroup ?? []].flat();
  return [...new Set(groups)].toSorted((a, b) => a - b);
}

/** Every image has root as 0; if one has not, its container is refused. */
function numberOf(name: string): number | null {
  if (name === "" || name === "root") return 0;
  return /^[0-9]{1,10}$/.test(name) ? Number(name) : null;
}
