import type { Resolution } from "../../images/resolve.ts";
import type { PreparedPod } from "../edit-pods.ts";
import { byPlace, type Finding } from "../finding.ts";
import { clusterValueFindings } from "./cluster-values.ts";
import { coordinatorFindings } from "./coordinator.ts";
import { hostAccessFindings } from "./host-access.ts";
import { imageConfigFindings } from "./image-config.ts";
import { imageFindings } from "./images.ts";
import { ingressPortFindings } from "./ingress-ports.ts";
import { listenerFindings } from "./listeners.ts";
import { memoryFindings } from "./memory.ts";
import { probeFindings } from "./probes.ts";
import { sidecarFindings } from "./sidecar.ts";
import { volumeFindings } from "./volumes.ts";

const RULES: readonly ((pod: PreparedPod) => Finding[])[] = [
  hostAccessFindings,
  volumeFindings,
  listenerFindings,
  ingressPortFindings,
  probeFindings,
  memoryFindings,
  clusterValueFindings,
  sidecarFindings,
];

/** All that is to be said about the pods, by file and line. */
export function review(pods: readonly PreparedPod[], { images, problems }: Resolution): Finding[] {
  return [
    ...coordinatorFindings(pods),
    ...imageFindings(pods, problems),
    ...pods.flatMap((pod) => [...RULES.flatMap((rule) => rule(pod)), ...imageConfigFindings(pod, images)]),
  ].toSorted(byPlace);
}
