import { expect, test } from "vitest";
import { forbiddenBy, podSecurityLabels, strictestLevel } from "./pod-security.ts";
import { type PodSpec, podTemplateSchema } from "./pod-spec.ts";
import { parseResourceFile } from "./resource-file.ts";

/** The smallest pod of level `restricted`. */
const SECURITY = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

function pod(container: object = {}, spec: object = {}): PodSpec {
  const containers = [{ name: "web", image: "web:1", securityContext: SECURITY, ...container }];
  return podTemplateSchema.parse({ spec: { runtimeClassName: "contrast-cc", containers, ...spec } }).spec;
}

const secured = (change: object): object => ({ securityContext: { ...SECURITY, ...change } });

test("a pod that states everything fits every level", () => {
  expect(forbiddenBy("restricted", pod())).toEqual([]);
  expect(strictestLevel(pod())).toBe("restricted");
  const { runAsNonRoot, seccompProfile, ...others } = SECURITY;
  // The pod may say it for its containers.
  const shared = pod({ securityContext: others }, { securityContext: { runAsNonRoot, seccompProfile } });
  expect(forbiddenBy("restricted", shared)).toEqual([]);
});

test.each<[string, PodSpec, string[]]>([
  ["root", pod(secured({ runAsUser: 0 })), ["web: runAsUser is 0"]],
  [
    "root for the pod",
    pod(secured({ runAsUser: 1 }), { securityContext: { runAsUser: 0 } }),
    ["runAsUser of the pod is 0"],
  ],
  ["runAsNonRoot: false", pod(secured({ runAsNonRoot: false })), ["web: runAsNonRoot is not true"]],
  ["rights to gain", pod(secured({ allowPrivilegeEscalation: null })), ["web: allowPrivilegeEscalation is not false"]],
  ["no seccomp", pod(secured({ seccompProfile: null })), ["web: seccompProfile is not RuntimeDefault"]],
  ["capabilities by default", pod(secured({ capabilities: null })), ["web: capabilities are not dropped"]],
  ["a capability", pod(secured({ capabilities: { drop: ["ALL"], add: ["CHOWN"] } })), ["web: capability CHOWN"]],
  ["a volume of NFS", pod({}, { volumes: [{ name: "a", nfs: { server: "x" } }] }), ["volume a is a nfs"]],
])("restricted forbids %s, baseline does not", (_, spec, what) => {
  expect(forbiddenBy("restricted", spec)).toEqual(what);
  expect(strictestLevel(spec)).toBe("baseline");
});

test.each<[string, PodSpec, string[]]>([
  ["NET_ADMIN", pod(secured({ capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] } })), ["web: capability NET_ADMIN"]],
  ["NET_RAW", pod(secured({ capabilities: { drop: ["ALL"], add: ["NET_RAW"] } })), ["web: capability NET_RAW"]],
  ["the host's network", pod({}, { hostNetwork: true }), ["hostNetwork"]],
  ["the host's files", pod({}, { volumes: [{ name: "a", hostPath: { path: "/" } }] }), ["volume a is a hostPath"]],
  ["all rights", pod(secured({ privileged: true })), ["web: privileged"]],
  ["a port of the host", pod({ ports: [{ containerPort: 80, hostPort: 80 }] }), ["web: hostPort"]],
  [
    "a probe elsewhere",
    pod({ livenessProbe: { httpGet: { port: 80, host: "x" } } }),
    ["web: a probe or hook with a host"],
  ],
])("baseline forbids %s, and so does restricted", (_, spec, what) => {
  expect(forbiddenBy("baseline", spec)).toEqual(what);
  expect(forbiddenBy("restricted", spec)).toEqual(what);
  expect([strictestLevel(spec), forbiddenBy("privileged", spec)]).toEqual(["privileged", []]);
});

test("NET_BIND_SERVICE is allowed everywhere", () => {
  const spec = pod(secured({ capabilities: { drop: ["ALL"], add: ["NET_BIND_SERVICE"] } }));
  expect(strictestLevel(spec)).toBe("restricted");
});

test("finds the labels of namespaces, in lists too, with their places", () => {
  const label = (mode: string, level: string): string => `    pod-security.kubernetes.io/${mode}: ${level}\n`;
  const text = `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
${label("enforce", "baseline")}${label("warn", "restricted")}${label("audit", "nonsense")}---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {pod-security.kubernetes.io/audit: restricted}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: free}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}
`;
  const labels = podSecurityLabels([parseResourceFile("ns.yml", text)]);
  expect([...labels]).toEqual([
    [
      "shop",
      [
        { mode: "enforce", level: "baseline", place: "ns.yml:6:41" },
        { mode: "warn", level: "restricted", place: "ns.yml:7:38" },
      ],
    ],
    ["other", [{ mode: "audit", level: "restricted", place: expect.stringMatching(/^ns\.yml:13:\d+$/) as string }]],
    ["free", []],
  ]);
});
