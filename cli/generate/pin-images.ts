import { withDigest } from "../../registry/reference.ts";
import type { ResolvedImage, ResolvedImages } from "../../registry/resolved-image.ts";
import type { PreparedPod } from "./edit-pods.ts";
import { INITIALIZER } from "./initializer.ts";
import { MESH_PROXY, ownImageConfig } from "../../policy/own-images.ts";
import { allContainers, type Container } from "../../kubernetes/pod-spec.ts";
import { isVolumeContainer } from "./volume-container.ts";

/** The images of all pods, each of them once, but for those that all is known about: ours. */
export function imagesToResolve(pods: readonly PreparedPod[]): string[] {
  const containers = pods.flatMap(({ spec }) => allContainers(spec));
  const unknown = containers.filter(
    (container) =>
      ownImageConfig(container.image) === undefined && !(isOurs(container) && container.image.includes("@")),
  );
  return [...new Set(unknown.map(({ image }) => image))];
}

/** Whether `generate` has put it there: it states all that its image could. */
function isOurs(container: Container): boolean {
  return container.name === INITIALIZER || container.name === MESH_PROXY || isVolumeContainer(container);
}

/**
 * Writes the digest behind the name of every image that is known: what its tag leads to tomorrow, the policy refuses.
 *
 * @param pods are changed
 * @returns `images`, also by their new names; and what was pinned
 */
export function pinImages(
  pods: readonly PreparedPod[],
  images: ResolvedImages,
): { readonly images: ResolvedImages; readonly pinned: readonly string[] } {
  const all = new Map<string, ResolvedImage>(images);
  const pinned = new Set<string>();
  for (const { spec } of pods) {
    for (const container of allContainers(spec)) {
      const image = images.get(container.image);
      if (image === undefined) continue;
      const reference = withDigest(container.image, image.digest);
      if (reference !== container.image) pinned.add(reference);
      container.image = reference;
      all.set(reference, image);
    }
  }
  return { images: all, pinned: [...pinned] };
}
