import {
  forbiddenBy,
  POD_SECURITY_LEVELS,
  type PodSecurityLabel,
  strictestLevel,
} from "../../../kubernetes/pod-security.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";

const LEVELS = "docs/generate.md has the level of each feature";

/** Pods that, with what was put into them, ask for more than their namespace allows. */
export function podSecurityFindings(
  { workload, spec, places }: PreparedPod,
  labels: ReadonlyMap<string, readonly PodSecurityLabel[]>,
): Finding[] {
  const strictest = (labels.get(workload.namespace ?? "default") ?? []).toSorted(
    (a, b) => POD_SECURITY_LEVELS.indexOf(b.level) - POD_SECURITY_LEVELS.indexOf(a.level),
  );
  // What is refused counts, and only if nothing is, what is warned of.
  const broken = strictest.filter(({ level }) => forbiddenBy(level, spec).length > 0);
  const label = broken.find(({ mode }) => mode === "enforce") ?? broken[0];
  if (label === undefined) return [];
  const { level, mode, place } = label;
  const effect = mode === "enforce" ? "which refuses" : "which complains of";
  return [
    {
      severity: "warning",
      code: "pod_security",
      where: places.workload,
      got: `the namespace has level ${level} (${mode}, ${place}), ${effect} ${forbiddenBy(level, spec).join(", ")}`,
      want: `level ${strictestLevel(spec)}, or a pod without that`,
      hint: LEVELS,
    },
  ];
}
