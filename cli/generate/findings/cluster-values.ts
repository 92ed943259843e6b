import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import type { FindConfig } from "../../../kubernetes/config-values.ts";
import { withStatedConfig } from "../../../policy/config-variables.ts";
import { isVolumeContainer, POD_NAME } from "../volume-container.ts";
import { MESH_PROXY } from "../../../policy/own-images.ts";
import { allContainers, type EnvironmentVariable } from "../../../kubernetes/pod-spec.ts";

const REMEDY = "those of ConfigMaps in the given files are pinned";

/** Variables whose values are not in the resource: whoever runs the cluster chooses them, and nobody attests them. */
export function clusterValueFindings({ workload, spec, places }: PreparedPod, config: FindConfig): Finding[] {
  const findings: Finding[] = [];
  const add = (where: string, got: string, hint: string): void => {
    findings.push({ severity: "warning", code: "cluster_value", where, got, want: "values in the resource", hint });
  };
  for (const container of allContainers(spec)) {
    const { name, env, envFrom } = withStatedConfig(container, (...reference) =>
      config(...reference, workload.namespace),
    );
    const chosen = (env ?? [])
      .filter(({ valueFrom }) => valueFrom)
      // With a wrong one the mesh proxy does not start, and nothing else comes of it.
      .filter((variable) => name !== MESH_PROXY || variable.name !== "CONTRAST_INGRESS_BIND")
      // The policy compares it with the name of the pod, and `generate` has put it there.
      .filter((variable) => !isVolumeContainer(container) || variable.name !== POD_NAME)
      .map((variable) => `${variable.name} (${kindOf(variable)})`);
    if (chosen.length > 0) {
      const hint = `the host chooses and reads them: no policy can tell which values are right; ${REMEDY}`;
      add(places.of(name, "env"), `variables from the cluster: ${chosen.join(", ")}`, hint);
    }
    if ((envFrom ?? []).length > 0) {
      const hint = "the host chooses their names, too: LD_PRELOAD would run another program; a prefix limits that";
      add(places.of(name, "envFrom"), "whatever a ConfigMap or Secret has as variables", hint);
    }
  }
  return findings;
}

function kindOf({ valueFrom }: EnvironmentVariable): string {
  return Object.keys(Object(valueFrom) as object).join(", ");
}
