import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { typeErrors } from "./kubernetes-types.ts";

/** What watches and separates the pods: PodMonitors, and the sample of NetworkPolicies. */

const root = join(import.meta.dirname, "..");

function load<T>(file: string): T[] {
  return yaml(readFileSync(join(root, file), "utf8"));
}

function yaml<T>(text: string): T[] {
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as T;
  });
}

interface Relabeling {
  readonly sourceLabels?: readonly string[];
  readonly action?: string;
  readonly regex?: string;
  readonly targetLabel?: string;
  readonly replacement?: string;
}
interface PodMonitor {
  readonly spec: {
    readonly selector: { readonly matchLabels?: Record<string, string> };
    readonly podMetricsEndpoints: readonly [
      { readonly port?: string; readonly path: string; readonly relabelings: readonly Relabeling[] },
    ];
  };
}
interface Policy {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly podSelector: { readonly matchLabels?: Record<string, string> };
    readonly ingress?: readonly { readonly ports: readonly { readonly port: number }[] }[];
  };
}

/** Prometheus' rules, of the actions that are used: regular expressions match as a whole, values are joined by `;`. */
function relabel(
  rules: readonly Relabeling[],
  target: Readonly<Record<string, string>>,
): Record<string, string> | null {
  const labels = { ...target };
  for (const { sourceLabels = [], action = "replace", regex = ".*", targetLabel = "", replacement = "$1" } of rules) {
    const match = new RegExp(`^(?:${regex})$`).exec(sourceLabels.map((name) => labels[name] ?? "").join(";"));
    if (action === "keep" && match === null) return null;
    if (action === "replace" && match !== null)
      labels[targetLabel] = replacement.replaceAll(/\$(\d)/g, (_, digit: string) => match[Number(digit)] ?? "");
  }
  return labels;
}

const [set] = load<{
  spec: {
    template: {
      metadata: { labels: Record<string, string> };
      spec: { containers: [{ ports: { name: string; containerPort: number }[] }] };
    };
  };
}>("deploy/coordinator.yml");
const coordinator = set?.spec.template;

test("the Coordinator's PodMonitor selects its pod, and names the port and the job of the alerts", () => {
  const [monitor] = load<PodMonitor>("deploy/prometheus/podmonitor-coordinator.yml");
  const [endpoint] = monitor?.spec.podMetricsEndpoints ?? [];
  expect(coordinator?.metadata.labels).toMatchObject(monitor?.spec.selector.matchLabels ?? { none: "" });
  expect(coordinator?.spec.containers[0].ports).toContainEqual({ name: endpoint?.port, containerPort: 9102 });
  const job = relabel(endpoint?.relabelings ?? [], {})?.["job"];
  expect(readFileSync(join(root, "deploy/prometheus/alerts.yml"), "utf8")).toContain(`up{job="${job}"}`);
});

const ANNOTATION = "__meta_kubernetes_pod_annotation_contrast_edgeless_systems_servicemesh_admin_interface_port";

test.each([
  ["10.0.3.17", "9901", "10.0.3.17:9901"],
  ["fd00::3:17", "9901", "[fd00::3:17]:9901"],
])("the mesh proxies' PodMonitor goes from %s to the annotated port", (ip, port, address) => {
  const [monitor] = load<PodMonitor>("deploy/prometheus/podmonitor-mesh-proxy.yml");
  const rules = monitor?.spec.podMetricsEndpoints[0].relabelings ?? [];
  const pod = { __meta_kubernetes_pod_ip: ip, [ANNOTATION]: port, __address__: ip };
  const target = (container: string, more = {}) =>
    relabel(rules, { ...pod, __meta_kubernetes_pod_container_name: container, ...more });
  expect(target("contrast-mesh-proxy")).toMatchObject({ __address__: address, job: "contrast-mesh-proxy" });
  expect(target("web")).toBeNull();
  expect(target("contrast-mesh-proxy", { [ANNOTATION]: "" })).toBeNull();
});

const policies = load<Policy>("deploy/network-policy.yml");
const inPages = ["sizing", "network-policy"].flatMap((page) =>
  [...readFileSync(join(root, `docs/${page}.md`), "utf8").matchAll(/^```yaml\n(.*?)^```$/gms)].flatMap(
    ([, text = ""]) => yaml<Policy>(text),
  ),
);

test("the NetworkPolicies, the quota and the examples are what Kubernetes takes", () => {
  expect(inPages.map(({ kind }) => kind)).toEqual(["ResourceQuota", "NetworkPolicy", "NetworkPolicy"]);
  const all = [...policies, ...inPages];
  expect(typeErrors(Object.fromEntries(all.map((one) => [one.metadata.name, one])))).toEqual([]);
});

test("the sample opens the ports that the Coordinator has, and no others", () => {
  const [, policy] = policies;
  expect(coordinator?.metadata.labels).toMatchObject(policy?.spec.podSelector.matchLabels ?? { none: "" });
  const open = (policy?.spec.ingress ?? []).flatMap(({ ports }) => ports.map(({ port }) => port));
  expect(open).toEqual(coordinator?.spec.containers[0].ports.map(({ containerPort }) => containerPort));
});
