import type { ManifestFile } from "./manifest-file.ts";
import type { Container, EnvironmentVariable } from "../../kubernetes/pod-spec.ts";
import type { PreparedPod } from "./edit-pods.ts";

/**
 * A new Coordinator gets the secrets from one that runs, and believes only a peer of its own policy, or of one that
 * `CONTRAST_PEER_POLICIES` of its own environment names (docs/design.md §7). So where the policy of a Coordinator with peers
 * changes in a deployment that runs, it names those that the manifest lists, and the manifest lists them on until they have
 * been replaced.
 */

/** Where a Coordinator finds the others. */
export const PEERS = "CONTRAST_PEERS";
export const PEER_POLICIES = "CONTRAST_PEER_POLICIES";

const HASH = /^[0-9a-f]{64}$/;

/** A Coordinator and what it follows. */
export interface Succession {
  readonly pod: PreparedPod;
  /** Hashes of policies that its environment names and the manifest lists; the oldest first. */
  readonly predecessors: readonly string[];
}

/**
 * Changes the environment of Coordinators whose policy changes.
 *
 * @param before the policies of the manifest
 * @param isDeployed whether pods run by that manifest
 * @param hashOf a pod's policy as it is now
 * @param earlierOf a pod's policy as the files have it
 */
export function namePredecessors(
  pods: readonly PreparedPod[],
  before: ManifestFile["Policies"],
  isDeployed: boolean,
  hashOf: (pod: PreparedPod) => string,
  earlierOf: (pod: PreparedPod) => string | undefined,
): Succession[] {
  const coordinators = pods.filter(({ annotations }) => annotations.role === "coordinator");
  // What follows stands before what it followed: see `keepPredecessors`.
  const listed = Object.keys(before)
    .filter((hash) => before[hash]?.Role === "coordinator")
    .toReversed();
  return coordinators.flatMap((pod): Succession[] => {
    const container = pod.spec.containers.find(({ env }) => env?.some(({ name }) => name === PEERS));
    if (container === undefined) return [];
    const others = new Set(coordinators.filter((other) => other !== pod).map(earlierOf));
    const known = listed.filter((hash) => !others.has(hash));
    if (isDeployed && !known.includes(hashOf(pod))) follow(container, known, () => known.includes(hashOf(pod)));
    return [{ pod, predecessors: policiesIn(container).filter((hash) => known.includes(hash)) }];
  });
}

/**
 * Files that are made anew each time, by Helm for instance, don't have the variable of the run before: then one of the
 * policies is found again.
 *
 * @param isFound whether the pod has a policy of the manifest now
 */
function follow(container: Container, known: readonly string[], isFound: () => boolean): void {
  for (let count = 1; count < known.length; count++) {
    setPolicies(container, known.slice(0, count));
    if (isFound()) return;
  }
  if (known.length > 0) setPolicies(container, known);
}

/** What a user wrote about measurements stays. */
function setPolicies(container: Container, hashes: readonly string[]): void {
  const env = container.env ?? [];
  const variable = env.find(({ name }) => name === PEER_POLICIES);
  const own = entriesOf(variable).filter((entry) => !HASH.test(entry));
  const value = [...own, ...hashes].join(",");
  // Behind what `generate` itself adds at the end, it would stand elsewhere in the next run, and the policy be another.
  const place = env.findIndex(({ name }) => name === PEERS) + 1;
  if (variable === undefined) container.env = env.toSpliced(place, 0, { name: PEER_POLICIES, value });
  else variable.value = value;
}

function policiesIn({ env }: Container): string[] {
  return entriesOf(env?.find(({ name }) => name === PEER_POLICIES)).flatMap((entry) => entry.split("@", 1));
}

function entriesOf(variable: EnvironmentVariable | undefined): string[] {
  return (variable?.value ?? "")
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
}

/**
 * Adds the policies of predecessors behind those of the pods, in the order that they have in the manifest.
 *
 * @param policies those of the pods
 */
export function keepPredecessors(
  policies: ManifestFile["Policies"],
  before: ManifestFile["Policies"],
  successions: readonly Succession[],
): ManifestFile["Policies"] {
  const named = new Set(successions.flatMap(({ predecessors }) => predecessors));
  const kept = Object.entries(before).filter(([hash]) => named.has(hash) && !Object.hasOwn(policies, hash));
  return { ...policies, ...Object.fromEntries(kept) };
}
