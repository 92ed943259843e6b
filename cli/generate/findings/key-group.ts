import type { ResolvedImages } from "../../../registry/resolved-image.ts";
import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { INITIALIZER } from "../initializer.ts";
import { keyGroupOf } from "../key-group.ts";

/** Applications that can't read their key because they are not root and have no group in common, or the wrong one. */
export function keyGroupFindings({ spec, annotations, places }: PreparedPod, images: ResolvedImages): Finding[] {
  if (spec.initContainers?.some(({ name }) => name === INITIALIZER) !== true) return [];
  const fsGroup = spec.securityContext?.fsGroup ?? undefined;
  const { group, apart } = keyGroupOf(spec, annotations.keyGroup, images);
  const finding = { severity: "warning", code: "key_group" } as const;
  if (fsGroup !== undefined && group !== undefined && group !== fsGroup) {
    const where = places.annotation(ANNOTATION.keyGroup);
    const got = `${group}, but files in the pod's volumes get its fsGroup, ${fsGroup}`;
    return [{ ...finding, where, got, want: `${fsGroup}, or no key-group` }];
  }
  if (apart.length === 0) return [];
  return [
    {
      ...finding,
      where: places.at("containers"),
      got: `users of several groups: ${apart.join(", ")}; only root can read the key and the secret`,
      want: `${ANNOTATION.keyGroup} with the group that may, or empty if none needs them`,
      hint: "a group in supplementalGroups is a group of all containers",
    },
  ];
}
