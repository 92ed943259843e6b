import { allContainers, type Container } from "../../../kubernetes/pod-spec.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";

/** Parts of a pod that lead to requests which the policy refuses, so that it would not start, or that have no effect. */
export function unsupportedFindings({ workload, spec, places }: PreparedPod): Finding[] {
  const error = (where: string, got: string, want: string, hint: string): Finding => {
    return { severity: "error", code: "unsupported", where, got, want, hint };
  };
  const findings: Finding[] = [];
  if (spec.hostUsers === false) {
    const hint = "the pod has a kernel of its own, and the policy refuses maps of users";
    findings.push(error(places.at("hostUsers"), "hostUsers: false", "no hostUsers", hint));
  }
  if (spec.setHostnameAsFQDN === true) {
    const hint = "the policy can't know the domain of the cluster, and refuses the host name";
    findings.push(error(places.at("setHostnameAsFQDN"), "setHostnameAsFQDN: true", "no setHostnameAsFQDN", hint));
  }
  if ((spec.ephemeralContainers ?? []).length > 0) {
    const hint = "a policy has the containers that a pod starts with, and refuses those that join it";
    findings.push(error(places.at("ephemeralContainers"), "ephemeral containers", "ordinary containers", hint));
  }
  if ((spec.imagePullSecrets ?? []).length > 0) {
    findings.push({
      severity: "warning",
      code: "unsupported",
      where: places.at("imagePullSecrets"),
      got: "imagePullSecrets, which the VM does not get: the node uses them, and the VM pulls the images again",
      want: "a registry that asks the VM for nothing",
      hint: "what the node knows, the host reads; docs/registries.md has two other ways",
    });
  }
  if (workload.indexed && workload.name.length > LONGEST_INDEXED) {
    const hint = "Kubernetes shortens the names of its pods, and the policy finds the host name in them";
    const want = `a name of at most ${LONGEST_INDEXED} characters`;
    findings.push(error(places.workload, "an Indexed Job with a long name", want, hint));
  }
  for (const container of allContainers(spec)) {
    for (const resource of devicesOf(container)) {
      const hint = "the policy lets no device of the node into the VM; huge pages would be the host's, too";
      findings.push(
        error(places.of(container.name, "resources"), resource, "CPU, memory and ephemeral storage alone", hint),
      );
    }
    for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
      if ((mount.recursiveReadOnly ?? "Disabled") === "Disabled") continue;
      const where = places.of(container.name, "volumeMounts", index, "recursiveReadOnly");
      findings.push(
        error(where, String(mount.recursiveReadOnly), "readOnly alone", "the policy refuses the option rro"),
      );
    }
  }
  return findings;
}

/** With a CronJob's ten digits and five of an index, a name made from it has no more than the 58 that are kept. */
const LONGEST_INDEXED = 40;

const PLAIN: ReadonlySet<string> = new Set(["cpu", "memory", "ephemeral-storage"]);

/** Extended resources are devices; so are claims of dynamic resource allocation. */
function devicesOf({ resources }: Container): string[] {
  const names = [resources?.limits, resources?.requests].flatMap((list) => Object.keys(list ?? {}));
  const others = [...new Set(names)].filter((name) => !PLAIN.has(name));
  return [...others, ...((resources?.claims ?? []).length > 0 ? ["claims"] : [])];
}
