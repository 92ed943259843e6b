import { expect, test } from "vitest";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { refusal } from "../../kubernetes/test-files.ts";
import { FindingsError } from "./finding.ts";
import { annotationOf, cacheImage, COORDINATOR, workspace } from "./test-workspace.ts";

/** Pods of kinds that are not Kubernetes' own. */

const ROLLOUT = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  strategy: {canary: {steps: [{setWeight: 20}]}}
  template:
    spec:
      runtimeClassName: contrast-cc
      containers:
        - name: web
          image: web:1 # the server
`;
const KNATIVE = `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: shop}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/min-scale: "1"}}
    spec: {runtimeClassName: contrast-cc, containers: [{name: user-container, image: web:1}]}
`;
/** Of the name of a kind of Kubernetes. */
const KRUISE = ROLLOUT.replace("argoproj.io/v1alpha1", "apps.kruise.io/v1beta1").replace("Rollout", "StatefulSet");
const STATEFUL_SET = KRUISE.replace("apps.kruise.io/v1beta1", "apps/v1");

const KINDS = [
  { group: "argoproj.io", kind: "Rollout", template: ["spec", "template"] },
  { group: "serving.knative.dev", kind: "Service", template: ["spec", "template"] },
  { group: "apps.kruise.io", kind: "StatefulSet", template: ["spec", "template"] },
];

const FILES = { "coordinator.yml": COORDINATOR, "rollout.yml": ROLLOUT, "service.yml": KNATIVE, "set.yml": KRUISE };

test("says of every pod of an unknown kind that it gets no policy, and how it gets one", async () => {
  const { dir, run, read, talk } = await workspace(FILES);
  const { policies, findings } = await run();
  expect(policies.map(({ name }) => name)).toEqual(["coordinator"]);
  const unknown = findings.filter(({ code }) => code === "unknown_kind");
  expect(unknown.map(({ where }) => where.slice(dir.length + "/app/".length))).toEqual([
    "rollout.yml:8:25, spec.template.spec.runtimeClassName",
    "service.yml:7:30, spec.template.spec.runtimeClassName",
    "set.yml:8:25, spec.template.spec.runtimeClassName",
  ]);
  expect(unknown.map(({ hint }) => hint)).toEqual(
    ["argoproj.io/Rollout", "serving.knative.dev/Service", "apps.kruise.io/StatefulSet"].map(
      (kind) => `if this is its pod template, use --kind ${kind}=spec.template`,
    ),
  );
  for (const { got } of unknown) expect(got).toContain("it gets no policy");
  expect(talk.filter((line) => line.endsWith("[unknown_kind]"))).toHaveLength(3);
  expect(await read("app/rollout.yml")).toBe(ROLLOUT);
});

test("with --strict such a pod is an error, and nothing is written", async () => {
  const { run, read } = await workspace({ "coordinator.yml": COORDINATOR, "rollout.yml": ROLLOUT });
  const error = await refusal(run({ strict: true }));
  expect(error).toBeInstanceOf(FindingsError);
  expect((error as FindingsError).findings.map(({ code }) => code)).toContain("unknown_kind");
  expect(await read("app/coordinator.yml")).toBe(COORDINATOR);
});

test("says so, too, where there is no other pod", async () => {
  const { run, talk } = await workspace({ "rollout.yml": ROLLOUT });
  expect(await refusal(run())).toMatchObject({ code: "no_workloads" });
  expect(talk).toHaveLength(1);
  expect(talk[0]).toContain("rollout.yml:8:25: warning: spec.template.spec.runtimeClassName:");
});

test("gives the pods of a named kind what all pods get", async () => {
  const { dir, run, read, manifest } = await workspace(FILES);
  const digest = await cacheImage(dir, "web:1", { Cmd: ["app"] });
  const { policies, findings } = await run({ kinds: KINDS });
  expect(policies.map(({ kind, name, namespace }) => [kind, name, namespace])).toEqual([
    ["StatefulSet", "coordinator", undefined],
    ["Rollout.argoproj.io", "web", undefined],
    ["Service.serving.knative.dev", "hello", "shop"],
    ["StatefulSet.apps.kruise.io", "web", undefined],
  ]);
  expect(findings.filter(({ code }) => code === "unknown_kind")).toEqual([]);
  const after = await read("app/rollout.yml");
  expect(after).toMatch(/runtimeClassName: contrast-cc-metal-qemu-snp-[0-9a-f]{8}\n/);
  expect(after).toContain(`image: web:1@${digest} # the server`);
  expect(after).toContain("name: contrast-initializer");
  expect(annotationOf(after)).not.toBe("");
  const service = await read("app/service.yml");
  expect(service).toContain('autoscaling.knative.dev/min-scale: "1"');
  expect(service).toContain("contrast-initializer");

  const { Policies } = await manifest();
  const granted = policies.map(({ hash }) => Policies[hash]);
  expect(granted.map(({ WorkloadSecretID }) => WorkloadSecretID)).toEqual([
    undefined,
    "argoproj.io/v1alpha1/Rollout/default/web",
    "serving.knative.dev/v1/Service/shop/hello",
    "apps.kruise.io/v1beta1/StatefulSet/default/web",
  ]);

  // A second run changes nothing, and `set` finds the policies without being told.
  expect((await run({ kinds: KINDS })).changedFiles).toEqual([]);
  const collected = await collectPolicies([`${dir}/app`]);
  expect(collected.map(({ hash }) => hash)).toEqual(policies.map(({ hash }) => hash));
});

test("keeps two workloads of one name apart that are of different groups", async () => {
  const { run } = await workspace({ "a.yml": `${KRUISE}---\n${STATEFUL_SET}` });
  const { policies } = await run({ kinds: KINDS });
  expect(policies.map(({ kind }) => kind)).toEqual(["StatefulSet.apps.kruise.io", "StatefulSet"]);
  const twice = await workspace({ "a.yml": `${KRUISE}---\n${KRUISE}` });
  expect(await refusal(twice.run({ kinds: KINDS }))).toMatchObject({
    code: "duplicate_workload",
    got: expect.stringContaining("StatefulSet.apps.kruise.io default/web") as string,
  });
});

test("recognizes them in the file of an earlier run", async () => {
  const { dir, run, read, editManifest, manifest } = await workspace(FILES);
  const options = { kinds: KINDS, outputPath: `${dir}/all.yml` };
  const { policies } = await run(options);
  await editManifest(({ Policies }) => void (Policies[policies[1]?.hash ?? ""].SANs = ["mine"]));
  const next = await run({ ...options, ipv4Only: true });
  expect(next.policies[1]?.hash).not.toBe(policies[1]?.hash);
  expect((await manifest()).Policies[next.policies[1]?.hash ?? ""].SANs).toEqual(["mine"]);
  expect(await read("app/rollout.yml")).toBe(ROLLOUT);
});

test.for<[string, string, string, object, string | undefined]>([
  ["a list of templates", "batch.volcano.sh/v1alpha1", "Job", { tasks: [{ template: { spec: POD() } }] }, undefined],
  ["a spec without a template", "serving.kserve.io/v1beta1", "InferenceService", { predictor: POD() }, undefined],
  ["no containers", "tekton.dev/v1", "TaskRun", { podTemplate: { runtimeClassName: "contrast-cc" } }, undefined],
  ["a Deployment whose pod stands one level too high", "apps/v1", "Deployment", POD(), undefined],
  ["a kind of the core", "v1", "PodTemplate", { template: { spec: POD() } }, undefined],
  ["two templates", "kubeflow.org/v1", "PyTorchJob", { a: { b: { spec: POD() } } }, "kubeflow.org/PyTorchJob=spec.a.b"],
])("does not miss %s", async ([, apiVersion, kind, spec, hint]) => {
  const resource = { apiVersion, kind, metadata: { name: "x" }, spec };
  const list = { apiVersion: "v1", kind: "List", items: [resource] };
  const { run } = await workspace({
    "a.json": JSON.stringify(resource),
    "b.json": JSON.stringify(list),
    "c.yml": COORDINATOR,
  });
  const { findings } = await run();
  const unknown = findings.filter(({ code }) => code === "unknown_kind");
  expect(unknown).toHaveLength(2);
  for (const finding of unknown) {
    expect(finding.got).toContain(kind);
    expect(finding.where).toMatch(/:1:\d+, .*runtimeClassName$/);
    if (hint === undefined) expect(finding).not.toHaveProperty("hint");
    else expect(finding.hint).toContain(`--kind ${hint}`);
  }
});

function POD(): object {
  return { runtimeClassName: "contrast-cc", containers: [{ name: "web", image: "web:1" }] };
}

test("says where a named kind has its pods, if it is elsewhere", async () => {
  const { run } = await workspace({ "a.yml": ROLLOUT, "c.yml": COORDINATOR });
  const { findings } = await run({ kinds: [{ group: "argoproj.io", kind: "Rollout", template: ["spec", "pod"] }] });
  expect(findings.find(({ code }) => code === "unknown_kind")?.hint).toContain("argoproj.io/Rollout=spec.template");
});
