import type { TreePath } from "./resource-file.ts";

/**
 * The kinds of resources that make pods. A new kind is one more entry: its API groups, those of old clusters too; the
 * way to its pod template; and the names that its pods can have, as a regular expression.
 *
 * The random parts of the names come from the cluster. So the pattern keeps a policy from being used for the pod of
 * another workload, not one pod from standing in for another of the same workload.
 */
interface Kind {
  readonly groups: readonly string[];
  readonly template: TreePath;
  /** @param name of the resource */
  readonly podNames: (name: string) => string;
}

export const WORKLOAD_KINDS = [
  "Pod",
  "ReplicationController",
  "Deployment",
  "StatefulSet",
  "DaemonSet",
  "ReplicaSet",
  "Job",
  "CronJob",
] as const;
type WorkloadKind = (typeof WORKLOAD_KINDS)[number];

const SPEC_TEMPLATE = ["spec", "template"];

const KINDS: Readonly<Record<WorkloadKind, Kind>> = {
  Pod: { groups: [""], template: [], podNames: (name) => `^${escape(name)}$` },
  ReplicationController: { groups: [""], template: SPEC_TEMPLATE, podNames: (name) => generated(name, "") },
  Deployment: {
    groups: ["apps", "extensions"],
    template: SPEC_TEMPLATE,
    // The hash of the template stands in between, in the name of the ReplicaSet.
    podNames: (name) => generated(name, "-[a-z0-9]{1,10}"),
  },
  StatefulSet: { groups: ["apps"], template: SPEC_TEMPLATE, podNames: (name) => `^${escape(name)}-[0-9]+$` },
  DaemonSet: { groups: ["apps", "extensions"], template: SPEC_TEMPLATE, podNames: (name) => generated(name, "") },
  ReplicaSet: { groups: ["apps", "extensions"], template: SPEC_TEMPLATE, podNames: (name) => generated(name, "") },
  // Of an indexed one, the index stands in between.
  Job: { groups: ["batch"], template: SPEC_TEMPLATE, podNames: (name) => generated(name, "(-[0-9]+)?") },
  CronJob: {
    groups: ["batch"],
    template: ["spec", "jobTemplate", ...SPEC_TEMPLATE],
    podNames: (name) => generated(name, "-[0-9]+(-[0-9]+)?"),
  },
};

/** A kind that the user has named, and where its resources have their pod template. */
export interface NamedKind {
  readonly group: string;
  readonly kind: string;
  readonly template: readonly string[];
}

/** @returns what `group/Kind=path.to.template` stands for; undefined: the text has another form */
export function parseNamedKind(text: string): NamedKind | undefined {
  const { group, kind, path } =
    /^(?<group>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)\/(?<kind>[A-Z][A-Za-z0-9]*)=(?<path>[\w-]+(?:\.[\w-]+)*)$/.exec(text)
      ?.groups ?? {};
  return group && kind && path ? { group, kind, template: path.split(".") } : undefined;
}

/** A kind whose resources make pods, as it was found in a resource. */
export interface FoundKind {
  /** `Deployment`; of a named one, as kubectl writes it, `Rollout.argoproj.io`: no two groups share it. */
  readonly name: string;
  readonly template: TreePath;
}

/**
 * @param apiVersion of a resource, and its `kind`
 * @param named by the user, beside those of Kubernetes
 * @returns undefined: it makes no pods, or nobody has said where they are
 */
export function findKind(apiVersion: unknown, kind: unknown, named: readonly NamedKind[] = []): FoundKind | undefined {
  const group = groupOf(apiVersion);
  const name = WORKLOAD_KINDS.find((known) => known === kind);
  if (name !== undefined && KINDS[name].groups.includes(group)) return { name, template: KINDS[name].template };
  const other = named.find((one) => one.group === group && one.kind === kind);
  return other === undefined ? undefined : { name: `${other.kind}.${group}`, template: other.template };
}

/** `apps` of `apps/v1`; of the core, `v1`, it is empty. */
export function groupOf(apiVersion: unknown): string {
  return typeof apiVersion === "string" && apiVersion.includes("/") ? apiVersion.replace(/\/.*$/s, "") : "";
}

/**
 * The names that a workload's pods can have, as a regular expression.
 *
 * @param kind FoundKind.name
 */
export function podNames(kind: string, name: string): string {
  const known = WORKLOAD_KINDS.find((other) => other === kind);
  return known === undefined ? namedByOthers(name) : KINDS[known].podNames(name);
}

/**
 * Of a kind that only its controller knows: the resource's name, and something behind it. Controllers shorten long names
 * in their own ways; Knative, for one, keeps 20 characters of a name that leaves no room for `-00001-deployment`.
 */
function namedByOthers(name: string): string {
  if (name.length <= LONGEST_WHOLE) return `^${escape(name)}(-[a-z0-9.-]+)?$`;
  return `^${escape(name.slice(0, SHORTEST_STEM))}[a-z0-9.-]*$`;
}

const LONGEST_WHOLE = 40;
const SHORTEST_STEM = 20;

/** A name made from `generateName` has at most 63 characters, 5 of them random; what goes before is cut off. */
const LONGEST_STEM = 58;
const LONGEST_MIDDLE = 12;

function generated(name: string, middle: string): string {
  if (name.length + LONGEST_MIDDLE <= LONGEST_STEM) return `^${escape(name)}${middle}-[a-z0-9]{5}$`;
  return `^${escape(name.slice(0, LONGEST_STEM))}[a-z0-9-]*[a-z0-9]{5}$`;
}

function escape(name: string): string {
  return name.replaceAll(".", "[.]");
}
