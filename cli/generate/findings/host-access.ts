import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { isVolumeContainer } from "../volume-container.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";

/** What is the host's: a confidential VM has no part in it. */
const NAMESPACES = ["hostNetwork", "hostPID", "hostIPC"] as const;

export function hostAccessFindings({ spec, places }: PreparedPod): Finding[] {
  const shared = NAMESPACES.filter((field) => spec[field] === true).map((field): Finding => ({
    severity: "error",
    code: "host_access",
    where: places.at(field),
    got: "true",
    want: `no ${field}: the pod runs in a VM of its own`,
  }));
  const privileged = allContainers(spec)
    // What opens an encrypted volume has to be, and runs nothing of anybody else's.
    .filter((container) => container.securityContext?.privileged === true && !isVolumeContainer(container))
    .map(({ name }): Finding => ({
      severity: "warning",
      code: "host_access",
      where: places.of(name, "securityContext", "privileged"),
      got: `${name} may do everything in its VM`,
      want: "the capabilities that it needs",
      hint: "what takes it over, takes the VM over, with the keys of the pod",
    }));
  return [...shared, ...privileged];
}
