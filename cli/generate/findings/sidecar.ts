import { MESH_PROXY } from "../../../policy/own-images.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";

/** A job ends when all its ordinary containers have, and the mesh proxy does not. */
export function sidecarFindings({ workload, spec, places }: PreparedPod): Finding[] {
  const isJob = workload.kind === "Job" || workload.kind === "CronJob";
  if (!isJob || !spec.containers.some(({ name }) => name === MESH_PROXY)) return [];
  return [
    {
      severity: "warning",
      code: "sidecar",
      where: places.workload,
      got: `a ${workload.kind} whose mesh proxy is an ordinary container: it never completes`,
      want: "--sidecar native, on Kubernetes 1.29 or later",
    },
  ];
}
