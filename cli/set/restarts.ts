import type { Manifest } from "../../manifest/manifest.ts";
import type { CollectedPolicy } from "../../policy/collected-policies.ts";

/** What a new mesh CA means for the workloads of the given files. Names are as kubectl takes them. */
export interface Restarts {
  /** One line for each workload whose running pods have certificates of the mesh CA before. */
  readonly restart: readonly string[];
  /** Workloads whose pods renew their certificates by themselves. */
  readonly renewed: readonly string[];
  /** Workloads that the manifest before does not list as they are now: `kubectl apply` starts their pods anew. */
  readonly changed: readonly string[];
}

/** Gets the certificates. A pod without it has none. */
const INITIALIZER = "contrast-initializer";

/** What `kubectl rollout restart` takes. */
const ROLLOUT = new Set(["deployment", "statefulset", "daemonset"]);

/** By kind in lower case. */
const BY_HAND: Readonly<Record<string, (file: string) => string>> = {
  replicaset: () => "delete its pods: new ones take their place",
  replicationcontroller: () => "delete its pods: new ones take their place",
  pod: (file) => `delete it, and apply ${file} again`,
  job: (file) => `if it still runs: delete it, and apply ${file} again`,
  cronjob: () => "its next run gets new certificates; delete the Job of a run that still goes on",
};

/**
 * @param policies of the files that were given to `set`
 * @param before the manifest that was in force
 * @param manifest the one that is in force now
 */
export function restartsOf(policies: readonly CollectedPolicy[], before: Manifest, manifest: Manifest): Restarts {
  const certified = policies.filter(
    ({ hash, initContainers }) =>
      manifest.policies.get(hash)?.role !== "coordinator" && initContainers.includes(INITIALIZER),
  );
  const running = certified.filter(({ hash }) => before.policies.has(hash));
  const renews = ({ sidecars }: CollectedPolicy): boolean => sidecars.includes(INITIALIZER);
  return {
    restart: running.filter((one) => !renews(one)).map(restartLine),
    renewed: running.filter(renews).map((one) => nameOf(one) + inNamespace(one)),
    changed: certified.filter(({ hash }) => !before.policies.has(hash)).map((one) => nameOf(one) + inNamespace(one)),
  };
}

function restartLine(workload: CollectedPolicy): string {
  const kind = workload.kind.toLowerCase();
  const name = nameOf(workload) + inNamespace(workload);
  if (ROLLOUT.has(kind)) return `kubectl rollout restart ${name}`;
  return `${name}: ${BY_HAND[kind]?.(workload.file) ?? "have its controller make its pods anew"}`;
}

function nameOf({ kind, name }: CollectedPolicy): string {
  return `${kind.toLowerCase()}/${name}`;
}

/** As an option of kubectl. */
function inNamespace({ namespace }: CollectedPolicy): string {
  return namespace === undefined ? "" : ` -n ${namespace}`;
}
