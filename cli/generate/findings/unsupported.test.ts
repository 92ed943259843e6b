import { expect, test } from "vitest";
import { workspace } from "../test-workspace.ts";
import { reviewed, WEB } from "./test-review.ts";

/** What a policy would refuse in the VM is said before, with its place. */

const first = async (pod: Parameters<typeof reviewed>[0]): Promise<string | undefined> => (await reviewed(pod))[0];

test.for<[string, object, object, string]>([
  ["hostUsers: false", { hostUsers: false }, {}, 'error at "hostUsers: false": hostUsers: false, want no hostUsers'],
  [
    "setHostnameAsFQDN",
    { setHostnameAsFQDN: true },
    {},
    'error at "setHostnameAsFQDN: true": setHostnameAsFQDN: true, want no setHostnameAsFQDN',
  ],
  [
    "ephemeral containers",
    { ephemeralContainers: [{ name: "debug" }] },
    {},
    'error at "- name: debug": ephemeral containers, want ordinary containers',
  ],
  [
    "imagePullSecrets",
    { imagePullSecrets: [{ name: "own" }] },
    {},
    'warning at "- name: own": imagePullSecrets, which the VM does not get',
  ],
  ["a GPU", {}, { resources: { limits: { memory: "1Gi", "nvidia.com/gpu": 1 } } }, "nvidia.com/gpu, want CPU, memory"],
  ["huge pages", {}, { resources: { limits: { memory: "1Gi", "hugepages-2Mi": "4Mi" } } }, "hugepages-2Mi, want CPU"],
  ["a claim of a device", {}, { resources: { ...WEB.resources, claims: [{ name: "gpu" }] } }, "claims, want CPU"],
] as const)("finds %s", async ([, spec, container, line]) => {
  expect(await first({ spec, containers: [{ ...WEB, ...container }] })).toContain(line);
});

test("says nothing of CPU limits and storage", async () => {
  const limits = { cpu: "2", memory: "256Mi", "ephemeral-storage": "1Gi" };
  const container = { ...WEB, resources: { limits, requests: { ...WEB.resources.requests, cpu: 1 } } };
  expect(await reviewed({ containers: [container] })).toEqual([]);
});

test.for([
  ["subPath", { subPath: "a" }],
  ["subPathExpr", { subPathExpr: "$(A)" }],
] as const)("refuses %s of an emptyDir, which the runtimes copy from the node", async ([name, part]) => {
  for (const emptyDir of [{}, { medium: "Memory" }]) {
    const spec = { volumes: [{ name: "data", emptyDir }] };
    const containers = [{ ...WEB, volumeMounts: [{ name: "data", mountPath: "/data", ...part }] }];
    expect(await first({ spec, containers })).toBe(
      `error at "- name: data": ${name} of data, an emptyDir, want a mount of the whole volume, or a volume of its own`,
    );
  }
  const spec = { volumes: [{ name: "data", configMap: { name: "a" } }] };
  const containers = [{ ...WEB, volumeMounts: [{ name: "data", mountPath: "/data", ...part }] }];
  expect(await first({ spec, containers })).toMatch(/^warning at/);
});

test("refuses an emptyDir of huge pages, and a mount that is read-only in all its depth", async () => {
  const spec = { volumes: [{ name: "data", emptyDir: { medium: "HugePages-2Mi" } }] };
  expect(await first({ spec })).toContain("data on HugePages-2Mi, want medium: Memory, or no medium");
  const mount = { name: "data", mountPath: "/data", readOnly: true, recursiveReadOnly: "Enabled" };
  const plain = { volumes: [{ name: "data", emptyDir: {} }] };
  expect(await first({ spec: plain, containers: [{ ...WEB, volumeMounts: [mount] }] })).toContain(
    "Enabled, want readOnly alone",
  );
});

test("finds an Indexed Job whose pods' names would be cut", async () => {
  const job = (name: string, completionMode: string) => reviewed({ kind: "Job", workload: { completionMode }, name });
  expect(await job("a".repeat(41), "Indexed")).toEqual([expect.stringContaining("an Indexed Job with a long name")]);
  expect(await job("a".repeat(40), "Indexed")).toEqual([]);
  expect(await job("a".repeat(60), "NonIndexed")).toEqual([]);
});

test.for([
  ["all pods", {}, { permissions: { allow: ["exec"], deny: [] } }, ["exec"], /^warning at "apiVersion/],
  ["one pod", { allow: "debug-shell" }, {}, ["debug-shell", "exec"], /^warning at "contrast.edgeless.systems\/allow/],
  ["one pod, by two names", { allow: "exec, logs" }, {}, ["exec"], /^warning at "contrast.edgeless.systems\/allow/],
  ["all pods but one", { deny: "exec" }, { permissions: { allow: ["exec"], deny: [] } }, [], /^$/],
  ["nobody", {}, {}, [], /^$/],
] as const)("is loud about what %s permit the host", async ([, annotations, options, permissions, line]) => {
  const lines = await reviewed({ annotations }, options);
  expect(lines).toHaveLength(permissions.length);
  for (const [index, permission] of permissions.entries()) {
    expect(lines[index]).toMatch(line);
    expect(lines[index]).toContain(`${permission}: the host may run any command in the pod's containers`);
  }
});

test("refuses an annotation with a permission that does not exist", async () => {
  await expect(reviewed({ annotations: { allow: "exec,root" } })).rejects.toThrow("an annotation is wrong");
});

test("the manifest names what a policy permits, and the result names the media of volumes", async () => {
  const pod = `apiVersion: v1
kind: Pod
metadata: { name: web, annotations: { contrast.edgeless.systems/allow: exec } }
spec:
  runtimeClassName: contrast-cc
  containers: [{ name: web, image: "web:1", command: [web] }]
  volumes: [{ name: a, emptyDir: { medium: Memory } }, { name: b, emptyDir: {} }, { name: c, secret: { secretName: c } }]
`;
  const { run, manifest } = await workspace({ "web.yml": pod });
  const { volumes } = await run();
  expect(Object.values((await manifest()).Policies)).toEqual([
    { SANs: ["web", "*"], WorkloadSecretID: "v1/Pod/default/web", Permissions: ["exec"] },
  ]);
  expect(volumes).toEqual([
    "Pod/web: a in the VM's memory",
    "Pod/web: b on a disk that the VM encrypts, or in its memory",
    "Pod/web: contrast-tls-certs in the VM's memory",
  ]);
});

test("stops where the agent's engine would not take a policy", async () => {
  const value = "s3cret".repeat(11_000);
  const error: unknown = await reviewed({ containers: [{ ...WEB, env: [{ name: "BIG", value }] }] }).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code: "policy_too_large" });
  expect(JSON.stringify(error)).toMatch(/web\.yml:1:1/);
  expect(JSON.stringify(error)).toContain("BIG");
  expect(JSON.stringify(error)).not.toContain("s3cret");
});
