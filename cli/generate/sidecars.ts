/**
 * How the mesh proxy runs.
 *
 * - `native`: an init container that is always restarted. The kubelet starts the others when its startup probe succeeds,
 *   and stops it after them (Kubernetes 1.29).
 * - `container`: the first of the ordinary containers, for older clusters. The kubelet starts the next one when its hook
 *   has ended, which holds for the kubelet as it is and is promised by nobody. Init containers run without it, all are
 *   stopped at the same time, and a job does not end before it.
 */
export const SIDECARS = ["native", "container"] as const;
export type Sidecar = (typeof SIDECARS)[number];
