import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { ANNOTATION } from "../annotations.ts";

/** A manifest without a Coordinator can't be set: nobody could be attested as one. */
export function coordinatorFindings(pods: readonly PreparedPod[]): Finding[] {
  const [first] = pods;
  if (first === undefined || pods.some(({ annotations }) => annotations.role === "coordinator")) return [];
  return [
    {
      severity: "warning",
      code: "coordinator",
      where: first.places.workload,
      got: "no Coordinator among the resources",
      want: `a pod with ${ANNOTATION.podRole}: coordinator`,
      hint: "give its file, too: `set` refuses a Coordinator that the manifest does not list",
    },
  ];
}
