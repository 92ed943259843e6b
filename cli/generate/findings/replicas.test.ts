import { stringify } from "yaml";
import { expect, test } from "vitest";
import { findingsOf, type Pod, reviewed } from "./test-review.ts";

/** Coordinators that are more than one. */

const MEMORY = { requests: { memory: "256Mi" }, limits: { memory: "256Mi" } };

function coordinator(env: Readonly<Record<string, string>>, more: Pod = {}): Pod {
  const container = {
    name: "coordinator",
    image: "contrast/coordinator:0.1.0",
    resources: MEMORY,
    env: Object.entries(env).map(([name, value]) => ({ name, value })),
  };
  return { annotations: { "pod-role": "coordinator" }, containers: [container], ...more };
}

const SHARED = { CONTRAST_STATE_STORE: "kubernetes" };
const PEERS = { ...SHARED, CONTRAST_PEERS: "coordinator-peers:7777" };
const replicas = (count: number): Pod => ({ workload: { replicas: count } });
const of = (pod: Pod): Promise<string[]> => reviewed(pod, {}, (code) => code === "replicas");

const LONELY =
  "each would have a history and a mesh CA of its own, want replicas: 1, or CONTRAST_STATE_STORE: kubernetes and CONTRAST_PEERS in its container";

test("three Coordinators with a store each would be three CAs", async () => {
  for (const env of [{}, { CONTRAST_STATE_STORE: "file" }, { CONTRAST_PEERS: "coordinator-peers:7777" }]) {
    expect(await of(coordinator(env, replicas(3)))).toEqual([
      `error at "replicas: 3": 3 of Deployment web with the store file: ${LONELY}`,
    ]);
  }
  expect(await of(coordinator({}, { ...replicas(2), kind: "StatefulSet" }))).toHaveLength(1);
  expect(await of(coordinator({}, { kind: "DaemonSet" }))).toEqual([
    `error at "apiVersion: apps/v1": one for each node of DaemonSet web with the store file: ${LONELY}`,
  ]);
});

test("three that share a history want to find each other", async () => {
  expect(await of(coordinator(SHARED, replicas(3)))).toEqual([
    expect.stringMatching(/^warning at "replicas: 3": 3 of Deployment web without CONTRAST_PEERS: .*headless Service$/),
  ]);
});

test("nothing is said of one, of three that have all, and of other pods", async () => {
  for (const pod of [
    coordinator({}),
    coordinator({}, replicas(1)),
    coordinator({}, replicas(0)),
    coordinator(PEERS, replicas(3)),
    coordinator(PEERS, { kind: "DaemonSet" }),
    replicas(3),
  ]) {
    expect(await of(pod)).toEqual([]);
  }
});

/** What changes the number from elsewhere: the finding is where that stands, which is in another file. */
async function elsewhere(resource: object, name = "more.yml"): Promise<number> {
  const findings = await findingsOf(coordinator({}, { files: { [name]: stringify(resource) } }), {}, () => true, name);
  return findings.filter(({ finding }) => finding.code === "replicas" && finding.severity === "error").length;
}

test("an autoscaler, a patch and a kustomization say how many there are, too", async () => {
  const scaler = (target: object, maxReplicas: number): object => ({
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { name: "web" },
    spec: { scaleTargetRef: { apiVersion: "apps/v1", ...target }, maxReplicas },
  });
  const patch = { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web" }, spec: { replicas: 3 } };
  const kustomization = { replicas: [{ name: "web", count: 3 }] };
  const versioned = { apiVersion: "kustomize.config.k8s.io/v1beta1", kind: "Kustomization" };
  expect(await elsewhere(scaler({ kind: "Deployment", name: "web" }, 5))).toBe(1);
  expect(await elsewhere(patch)).toBe(1);
  expect(await elsewhere({ ...versioned, ...kustomization })).toBe(1);
  expect(await elsewhere(kustomization, "kustomization.yaml")).toBe(1);
  // One, or another's.
  expect(await elsewhere(scaler({ kind: "Deployment", name: "web" }, 1))).toBe(0);
  expect(await elsewhere(scaler({ kind: "Deployment", name: "shop" }, 5))).toBe(0);
  expect(await elsewhere({ ...patch, kind: "StatefulSet" })).toBe(0);
  expect(await elsewhere({ ...patch, metadata: { name: "web", namespace: "shop" } })).toBe(0);
  expect(await elsewhere({ ...versioned, replicas: [{ name: "shop", count: 3 }] })).toBe(0);
});
