import type { ImageConfig } from "../registry/resolved-image.ts";
import type { Container, EnvironmentVariable, PodSpec } from "../kubernetes/pod-spec.ts";
import { type Resolve, type Template, expand } from "./expansion.ts";

/**
 * The variables of a container: those of its image, those of the resource over them (k8s.io/kubernetes,
 * pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables), and what containerd adds.
 */
export interface Environment {
  /** Variables and their values. */
  readonly env: Readonly<Record<string, Template>>;
  /** Variables that are there, with values that the cluster chooses: of what kind. */
  readonly env_from_cluster: Readonly<Record<string, ClusterValue>>;
  /** The same, and they may be missing. */
  readonly optional_env: Readonly<Record<string, ClusterValue>>;
  /** What begins like this may be set to anything, unless it is one of the above. */
  readonly env_prefixes: readonly string[];
  /** Which services the variables may be about that the kubelet makes: `all`, or the API server's only. */
  readonly services: "all" | "kubernetes";
}

/** The rules know how each looks; `anything` is not looked at. */
export type ClusterValue =
  | "pod name"
  | "namespace"
  | "host name"
  | "index"
  | "search path"
  | "node name"
  | "uid"
  | "addresses"
  | "number"
  | "terminal"
  | "anything";

const COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index";

/** What the controller of Jobs puts into every container of an Indexed one (k8s.io/kubernetes, pkg/controller/job). */
export const INDEX_VARIABLE: EnvironmentVariable = {
  name: "JOB_COMPLETION_INDEX",
  valueFrom: { fieldRef: { fieldPath: `metadata.annotations['${COMPLETION_INDEX}']` } },
};

const FIELDS: Readonly<Record<string, ClusterValue>> = {
  "metadata.name": "pod name",
  "metadata.namespace": "namespace",
  "metadata.uid": "uid",
  [`metadata.annotations['${COMPLETION_INDEX}']`]: "index",
  [`metadata.labels['${COMPLETION_INDEX}']`]: "index",
  "spec.nodeName": "node name",
  "status.hostIP": "addresses",
  "status.hostIPs": "addresses",
  "status.podIP": "addresses",
  "status.podIPs": "addresses",
};

/** What containerd gives to a container whose image says nothing (oci.WithDefaultPathEnv). */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The container that holds the pod's namespaces has nothing but what its image says, which may be nothing. */
export const SANDBOX_ENVIRONMENT: Environment = {
  env: {},
  env_from_cluster: {},
  optional_env: { PATH: "search path", HOSTNAME: "host name" },
  env_prefixes: [],
  services: "kubernetes",
};

export function environmentOf(container: Container, pod: PodSpec, image: ImageConfig): Environment {
  const fixed = new Map<string, Template>([["PATH", DEFAULT_PATH]]);
  for (const variable of image.env) {
    const name = nameOf(variable);
    fixed.set(name, variable.slice(name.length + 1));
  }
  const chosen = new Map<string, ClusterValue>();
  const optional = new Map<string, ClusterValue>([["HOSTNAME", "host name"]]);
  if (container.tty === true) optional.set("TERM", "terminal");
  for (const name of fixed.keys()) optional.delete(name);
  for (const [name, value] of statedVariables(container, pod, image)) {
    for (const kind of [fixed, optional]) kind.delete(name);
    if ("text" in value) fixed.set(name, value.text);
    else (value.optional ? optional : chosen).set(name, value.kind);
  }
  return {
    env: Object.fromEntries(fixed),
    env_from_cluster: Object.fromEntries(chosen),
    optional_env: Object.fromEntries(optional),
    env_prefixes: (container.envFrom ?? []).map(({ prefix }) => prefix ?? ""),
    services: pod.enableServiceLinks === false ? "kubernetes" : "all",
  };
}

/** What references in the container's command stand for: the kubelet's variables, not those of the image. */
export function commandResolver(container: Container, pod: PodSpec, image: ImageConfig): Resolve {
  return resolver(statedVariables(container, pod, image), container, image);
}

type Value = { readonly text: Template } | { readonly kind: ClusterValue; readonly optional: boolean };

/** A value may refer to the variables before it. */
function statedVariables(container: Container, pod: PodSpec, image: ImageConfig): ReadonlyMap<string, Value> {
  const known = new Map<string, Value>();
  const resolve = resolver(known, container, image);
  for (const variable of container.env ?? []) known.set(variable.name, valueOf(variable, pod, resolve));
  return known;
}

function valueOf({ value, valueFrom }: EnvironmentVariable, pod: PodSpec, resolve: Resolve): Value {
  if (!valueFrom) return { text: expand(value ?? "", resolve) };
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef, fileKeyRef } = valueFrom;
  if (fieldRef?.fieldPath === "spec.serviceAccountName") {
    return { text: pod.serviceAccountName ?? pod.serviceAccount ?? "default" };
  }
  if (fieldRef) return { kind: FIELDS[fieldRef.fieldPath] ?? "anything", optional: false };
  if (resourceFieldRef) return { kind: "number", optional: false };
  return {
    kind: "anything",
    optional: [configMapKeyRef, secretKeyRef, fileKeyRef].some((key) => key?.optional === true),
  };
}

/** What the resource does not state may be a service's variable or one of `envFrom`: the policy looks. */
function resolver(known: ReadonlyMap<string, Value>, { env }: Container, image: ImageConfig): Resolve {
  // Behind this variable, or set by containerd when the kubelet has expanded everything.
  const later = new Set(["HOSTNAME", "PATH", "TERM", ...image.env.map(nameOf), ...(env ?? []).map(({ name }) => name)]);
  return (name) => {
    const value = known.get(name);
    if (value === undefined && (name === "" || later.has(name))) return undefined;
    return value !== undefined && "text" in value ? value.text : [{ variable: name }];
  };
}

function nameOf(variable: string): string {
  return variable.split("=", 1)[0] ?? "";
}
