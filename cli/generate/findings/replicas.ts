import { allContainers, statedValue } from "../../../kubernetes/pod-spec.ts";
import type { ResourceFile } from "../../../kubernetes/resource-file.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { PEERS } from "../predecessors.ts";
import { countsOf } from "./counts.ts";

const HINT = "deploy/coordinator.yml has all that three Coordinators need";

/**
 * Several pods of one Coordinator that don't share their history: each would have one of its own, and a mesh CA of its own.
 * Or that share it, and can't give each other their secrets.
 */
export function replicaFindings(pods: readonly PreparedPod[], files: readonly ResourceFile[]): Finding[] {
  return pods
    .filter(({ annotations }) => annotations.role === "coordinator")
    .flatMap(({ workload, spec }): Finding[] => {
      const several = countsOf(workload, files).find(({ count }) => typeof count === "string" || count > 1);
      if (several === undefined) return [];
      const variables = new Map(
        allContainers(spec).flatMap(({ env }) => (env ?? []).map((variable) => [variable.name, variable] as const)),
      );
      const store = variables.get("CONTRAST_STATE_STORE");
      const storeName = store === undefined ? "file" : statedValue(store);
      const { where, count } = several;
      if (storeName === "file" || storeName === "") {
        return [
          {
            severity: "error",
            code: "replicas",
            where,
            got: `${count} of ${workload.kind} ${workload.name} with the store file: each would have a history and a mesh CA of its own`,
            want: `replicas: 1, or CONTRAST_STATE_STORE: kubernetes and ${PEERS} in its container`,
            hint: HINT,
          },
        ];
      }
      if (variables.has(PEERS)) return [];
      return [
        {
          severity: "warning",
          code: "replicas",
          where,
          got: `${count} of ${workload.kind} ${workload.name} without ${PEERS}: one that restarts waits for the owners, and so do all others after a set`,
          want: `${PEERS} with the name and the port of a headless Service`,
          hint: HINT,
        },
      ];
    });
}
