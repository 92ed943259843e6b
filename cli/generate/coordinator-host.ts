/** The Service in front of all Coordinators (deploy/coordinator.yml). */
const ALL = "coordinator";
/** The Service in front of those that have a manifest and their secrets. */
export const READY = "coordinator-ready";

/** What `generate` writes; anything else is a user's. */
const OWN = /^(?<service>coordinator(?:-ready)?)(?<suffix>(?:\.[a-z0-9.-]+\.svc)?)$/;

/** A Coordinator that `generate` knows of. */
export interface KnownCoordinator {
  /** Undefined: the namespace that it is applied to. */
  readonly namespace: string | undefined;
  /** Whether there is the Service of those that are ready; undefined: nothing is known of its Services. */
  readonly hasReady: boolean | undefined;
}

/** Parts of the name; undefined: nothing is known, or several could be meant. */
export interface WantedHost {
  readonly service: string | undefined;
  /** Empty, or `.<namespace>.svc`. */
  readonly suffix: string | undefined;
}

/**
 * The name by which a pod finds the Coordinator. It is part of the pod's policy, but it proves nothing: DNS and network are
 * the host's.
 *
 * @param pod the pod's namespace; undefined: the one that it is applied to
 * @param coordinators all that are known; one in the pod's own namespace goes first
 */
export function hostOfCoordinator(pod: string | undefined, coordinators: readonly KnownCoordinator[]): WantedHost {
  const near = coordinators.filter(({ namespace }) => namespace === pod);
  const [first, ...others] = near.length > 0 ? near : coordinators;
  if (first === undefined || others.some(({ namespace }) => namespace !== first.namespace)) {
    return { service: undefined, suffix: undefined };
  }
  const { namespace, hasReady } = first;
  const service = hasReady === undefined ? undefined : hasReady ? READY : ALL;
  if (namespace === undefined) return { service, suffix: undefined };
  return { service, suffix: near.length > 0 ? "" : `.${namespace}.svc` };
}

/**
 * @param before COORDINATOR_HOST as it stands in the file
 * @param wanted as `hostOfCoordinator` has it
 */
export function keptOrWantedHost(before: string | undefined, wanted: WantedHost | undefined): string {
  const own = OWN.exec(before ?? ALL)?.groups;
  if (before !== undefined && own === undefined) return before;
  return `${wanted?.service ?? own?.["service"] ?? ALL}${wanted?.suffix ?? own?.["suffix"] ?? ""}`;
}
