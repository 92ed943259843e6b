import type { Container, PodSpec } from "../kubernetes/pod-spec.ts";

/** What the cluster chooses for a pod, and how the kubelet puts it into the pod's variables. */
export interface Cluster {
  readonly podName: string;
  readonly namespace: string;
  readonly uid: string;
  /** The group that /etc/passwd of the image states for a user. */
  readonly passwdGroup: (uid: number) => number;
  /** The groups that /etc/group of the image states for root. */
  readonly rootGroups: readonly number[];
  /** Kata's runtime: the one in Go, or the one in Rust. */
  readonly runtime: Runtime;
  /** 1.6 knows fewer options and has an older pause image; its node has no cgroup v2 here. */
  readonly containerd: "1.6" | "2";
}

export const RUNTIMES = ["go-shim", "runtime-rs"] as const;
export type Runtime = (typeof RUNTIMES)[number];

const SERVICES: Readonly<Record<string, string>> = {
  KUBERNETES_SERVICE_HOST: "10.96.0.1",
  KUBERNETES_SERVICE_PORT: "443",
  KUBERNETES_SERVICE_PORT_HTTPS: "443",
  KUBERNETES_PORT: "tcp://10.96.0.1:443",
  KUBERNETES_PORT_443_TCP: "tcp://10.96.0.1:443",
  KUBERNETES_PORT_443_TCP_PROTO: "tcp",
  KUBERNETES_PORT_443_TCP_PORT: "443",
  KUBERNETES_PORT_443_TCP_ADDR: "10.96.0.1",
};
const LINKED: Readonly<Record<string, string>> = {
  REDIS_MASTER_SERVICE_HOST: "fd00::10",
  REDIS_MASTER_SERVICE_PORT: "6379",
  REDIS_MASTER_SERVICE_PORT_TCP_REDIS: "6379",
  REDIS_MASTER_PORT: "tcp://[fd00::10]:6379",
  REDIS_MASTER_PORT_6379_TCP_ADDR: "fd00::10",
};

/** kubelet_pods.go, makeEnvironmentVariables. */
export function kubeletEnvironment(container: Container, pod: PodSpec, cluster: Cluster): Map<string, string> {
  const services = { ...SERVICES, ...(pod.enableServiceLinks === false ? {} : LINKED) };
  const env = new Map<string, string>();
  for (const { prefix } of container.envFrom ?? []) env.set(`${prefix ?? ""}FROM_MAP`, "what the map says");
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (!valueFrom)
      env.set(
        name,
        kubeletExpand(value ?? "", (other) => env.get(other) ?? services[other]),
      );
    else if (valueFrom.fieldRef) env.set(name, fieldOf(valueFrom.fieldRef.fieldPath, pod, cluster));
    else if (valueFrom.resourceFieldRef) env.set(name, "134217728");
    else if (valueFrom.configMapKeyRef?.optional !== true) env.set(name, "from a map or a secret");
  }
  for (const [name, value] of Object.entries(services)) if (!env.has(name)) env.set(name, value);
  return env;
}

function fieldOf(path: string, pod: PodSpec, cluster: Cluster): string {
  const fields: Readonly<Record<string, string>> = {
    "metadata.name": cluster.podName,
    "metadata.namespace": cluster.namespace,
    "metadata.uid": cluster.uid,
    "spec.nodeName": "node-1.example.com",
    "spec.serviceAccountName": pod.serviceAccountName ?? "default",
    "status.hostIP": "192.0.2.7",
    "status.podIP": "10.244.0.14",
    "status.podIPs": "10.244.0.14,fd00::14",
  };
  return fields[path] ?? `the value of ${path}`;
}

/** expansion.go, character by character as it is there. */
export function kubeletExpand(text: string, mapping: (name: string) => string | undefined): string {
  let result = "";
  for (let cursor = 0; cursor < text.length; cursor++) {
    const next = text[cursor + 1];
    if (text[cursor] !== "$" || next === undefined) {
      result += text[cursor] ?? "";
    } else if (next === "$") {
      result += "$";
      cursor++;
    } else if (next === "(") {
      const end = text.indexOf(")", cursor);
      if (end < 0) result += "$(";
      else result += mapping(text.slice(cursor + 2, end)) ?? text.slice(cursor, end + 1);
      cursor = end < 0 ? cursor + 1 : end;
    } else {
      result += `$${next}`;
      cursor++;
    }
  }
  return result;
}
