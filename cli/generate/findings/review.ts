import type { FindConfig } from "../../../kubernetes/config-values.ts";
import { podSecurityLabels } from "../../../kubernetes/pod-security.ts";
import type { ResourceFile } from "../../../kubernetes/resource-file.ts";
import { findServices } from "../../../kubernetes/services.ts";
import type { Resolution } from "../../../registry/resolve.ts";
import type { PreparedPod } from "../edit-pods.ts";
import { byPlace, type Finding } from "../finding.ts";
import { attestationApiFindings } from "./attestation-api.ts";
import { clusterValueFindings } from "./cluster-values.ts";
import { coordinatorFindings } from "./coordinator.ts";
import { drainFindings } from "./drain.ts";
import { hostAccessFindings } from "./host-access.ts";
import { imageConfigFindings } from "./image-config.ts";
import { imageFindings } from "./images.ts";
import { ingressPortFindings } from "./ingress-ports.ts";
import { ingressBindFindings } from "./ingress-bind.ts";
import { initializerFindings } from "./initializer.ts";
import { keyGroupFindings } from "./key-group.ts";
import { listenerFindings } from "./listeners.ts";
import { memoryFindings } from "./memory.ts";
import { podSecurityFindings } from "./pod-security.ts";
import { permissionFindings } from "./permissions.ts";
import { probeFindings } from "./probes.ts";
import { replicaFindings } from "./replicas.ts";
import { secureVolumeFindings } from "./secure-volumes.ts";
import { sidecarFindings } from "./sidecar.ts";
import { unsupportedFindings } from "./unsupported.ts";
import { volumeFindings } from "./volumes.ts";

const RULES: readonly ((pod: PreparedPod) => Finding[])[] = [
  hostAccessFindings,
  permissionFindings,
  unsupportedFindings,
  volumeFindings,
  listenerFindings,
  ingressPortFindings,
  probeFindings,
  memoryFindings,
  sidecarFindings,
  initializerFindings,
  ingressBindFindings,
  attestationApiFindings,
];

/**
 * All that is to be said about the pods, by file and line.
 *
 * @param files that the pods come from, and others
 * @param config values that the policies pin
 */
export function review(
  pods: readonly PreparedPod[],
  { images, problems }: Resolution,
  files: readonly ResourceFile[],
  config: FindConfig,
): Finding[] {
  const labels = podSecurityLabels(files);
  const services = findServices(files);
  return [
    ...coordinatorFindings(pods),
    ...replicaFindings(pods, files),
    ...secureVolumeFindings(pods, files),
    ...imageFindings(pods, problems),
    ...pods.flatMap((pod) => [
      ...RULES.flatMap((rule) => rule(pod)),
      ...clusterValueFindings(pod, config),
      ...imageConfigFindings(pod, images),
      ...keyGroupFindings(pod, images),
      ...podSecurityFindings(pod, labels),
      ...drainFindings(pod, services),
    ]),
  ].toSorted(byPlace);
}
