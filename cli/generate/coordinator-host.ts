/** The Service in front of the Coordinator's mesh API (deploy/coordinator.yml). */
const SERVICE = "coordinator";

/** What `generate` writes; anything else is a user's. */
const OWN = /^coordinator(?:\.[a-z0-9.-]+\.svc)?$/;

/**
 * The name by which a pod finds the Coordinator. It is part of the pod's policy, but it proves nothing: DNS and network are
 * the host's.
 *
 * @param pod the pod's namespace; undefined: the one that it is applied to
 * @param coordinators the namespaces of all Coordinators that are known; one in the pod's own goes first
 * @returns undefined: nothing is known, or several could be meant
 */
export function hostOfCoordinator(pod: string | undefined, coordinators: readonly string[]): string | undefined {
  if (pod !== undefined && coordinators.includes(pod)) return SERVICE;
  const [namespace, ...others] = new Set(coordinators);
  return namespace === undefined || others.length > 0 ? undefined : `${SERVICE}.${namespace}.svc`;
}

/**
 * @param before COORDINATOR_HOST as it stands in the file
 * @param wanted as `hostOfCoordinator` has it
 */
export function keptOrWantedHost(before: string | undefined, wanted: string | undefined): string {
  if (before !== undefined && !OWN.test(before)) return before;
  return wanted ?? before ?? SERVICE;
}
