import type { ImageProblem, ImageProblemKind } from "../../../registry/problem.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { ownImageConfig } from "../../../policy/own-images.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";

/** Nobody is to blame: the policy is then as strict as ever, and knows less. */
const UNASKED: ReadonlySet<ImageProblemKind> = new Set(["unreachable", "not_cached"]);

/**
 * Images that nothing is known about, each of them once. Those that something is known about have been pinned.
 *
 * @param problems by the image as it stands in the resource
 */
export function imageFindings(pods: readonly PreparedPod[], problems: ReadonlyMap<string, ImageProblem>): Finding[] {
  const uses = new Map<string, { readonly first: () => string; count: number }>();
  for (const { spec, places } of pods) {
    for (const { name, image } of allContainers(spec)) {
      const known = uses.get(image);
      if (known === undefined) uses.set(image, { first: () => places.of(name, "image"), count: 1 });
      else known.count += 1;
    }
  }
  const placeOf = (image: string | undefined): string => uses.get(image ?? "")?.first() ?? "";
  const own = [...uses.keys()].filter((image) => ownImageConfig(image) !== undefined && !image.includes("@"));
  const findings = [...problems].map(([image, { kind, got, want, hint }]): Finding => {
    const where = placeOf(image);
    const others = (uses.get(image)?.count ?? 1) - 1;
    const name = `${image}${others === 0 ? "" : ` (and at ${others} more)`}`;
    if (!UNASKED.has(kind)) {
      return { severity: "error", code: "image_refused", where, got: `${name}: ${got}`, want, hint };
    }
    const reason = kind === "not_cached" ? "is not in the cache" : `can't be asked for: ${got}`;
    return image.includes("@")
      ? { severity: "warning", code: "image_unknown", where, got: `${name} ${reason}`, want: "its config", hint }
      : {
          severity: "warning",
          code: "image_digest",
          where,
          got: `${name} has no digest and ${reason}`,
          want: "name:tag@sha256:…",
          hint,
        };
  });
  if (own.length > 0) {
    findings.push({
      severity: "warning",
      code: "image_digest",
      where: placeOf(own[0]),
      got: `no digest for ${own.join(", ")}`,
      want: "released images, by --image-replacements",
    });
  }
  return findings;
}
