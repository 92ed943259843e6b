import type { ResolvedImages } from "../../../registry/resolved-image.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { ownImageConfig } from "../../../policy/own-images.ts";
import { withImageVolumes, withoutCommand, withoutUser } from "../../../policy/policy.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";

/** Containers that take from their image what is not known, or what the host can change. */
export function imageConfigFindings({ spec, places }: PreparedPod, images: ResolvedImages): Finding[] {
  const containers = allContainers(spec);
  const isKnown = (image: string): boolean => images.has(image) || ownImageConfig(image) !== undefined;
  const unknown = containers.filter(({ image, command }) => !isKnown(image) && (command ?? []).length === 0);
  const lacking = withoutCommand(spec, images).filter((name) => unknown.every((container) => container.name !== name));
  const hint = "the policy refuses the container as it is";
  return [
    ...unknown.map(({ name }): Finding => ({
      severity: "warning",
      code: "image_config",
      where: places.of(name),
      got: `${name} has no command, and nothing is known about its image`,
      want: "command, and what else the image is needed for: args, env, workingDir, runAsUser",
      hint,
    })),
    ...lacking.map((name): Finding => ({
      severity: "error",
      code: "image_config",
      where: places.of(name),
      got: `${name} has no command, and its image has none`,
      want: "command",
      hint,
    })),
    ...withoutUser(spec, images).map((name): Finding => ({
      severity: "error",
      code: "image_config",
      where: places.of(name),
      got: `${name} runs as a user whose number only the image tells: its USER is a name`,
      want: "securityContext.runAsUser",
      hint,
    })),
    ...[...withImageVolumes(spec, images)].map(([name, paths]): Finding => ({
      severity: "warning",
      code: "volume",
      where: places.of(name),
      got: `the image of ${name} wants volumes at ${paths.join(", ")}, and the pod has none there`,
      want: "an emptyDir, in the memory of the VM",
      hint: "the host can read and change what is there now",
    })),
  ];
}
