import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { PLATFORMS } from "../cli/generate/platform-names.ts";
import { runtimeClassName } from "../cli/generate/platforms.ts";
import { collectPolicies } from "../policy/collected-policies.ts";
import { VERSION } from "../runtime/version.ts";
import { HELM, NO_HELM } from "./helm-program.ts";
import { typeErrors } from "./kubernetes-types.ts";

/** The charts in deploy/helm/ make the objects of the plain files. */

const root = join(import.meta.dirname, "..");
const COORDINATOR = "deploy/helm/contrast-coordinator";
const RUNTIME = "deploy/helm/contrast-runtime";

interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

function resourcesOf(text: string): Resource[] {
  const documents = parseAllDocuments(text);
  for (const { errors } of documents) expect(errors).toEqual([]);
  return documents.map((document) => document.toJS() as Resource | null).filter((resource) => resource !== null);
}

const byName = (resources: readonly Resource[]): Record<string, Resource> =>
  Object.fromEntries(resources.map((resource) => [`${resource.kind} ${resource.metadata.name}`, resource]));
const plain = (file: string): Resource[] => resourcesOf(readFileSync(join(root, file), "utf8"));

function helm(chart: string, ...values: readonly string[]): { code: number | null; out: string; errors: string } {
  const { status, stdout, stderr } = spawnSync(HELM, ["template", "contrast", chart, ...values], {
    cwd: root,
    encoding: "utf8",
  });
  return { code: status, out: stdout, errors: stderr };
}

function rendered(chart: string, ...values: readonly string[]): Resource[] {
  const { code, out, errors } = helm(chart, ...values);
  expect(code, errors).toBe(0);
  return resourcesOf(out);
}

test("a chart has the version of the programs, and every value of its file is in its schema", () => {
  for (const folder of [COORDINATOR, RUNTIME]) {
    const read = (name: string): string => readFileSync(join(root, folder, name), "utf8");
    expect(parse(read("Chart.yaml"))).toMatchObject({ version: VERSION, appVersion: VERSION });
    const { properties } = JSON.parse(read("values.schema.json")) as { properties: object };
    expect(["global", ...Object.keys(parse(read("values.yaml")) as object)].toSorted()).toEqual(
      Object.keys(properties).toSorted(),
    );
  }
});

test.skipIf(NO_HELM !== "")(`the Coordinator's chart makes the objects of deploy/coordinator.yml${NO_HELM}`, () => {
  expect(byName(rendered(COORDINATOR))).toEqual(byName(plain("deploy/coordinator.yml")));
});

test.skipIf(NO_HELM !== "").each(PLATFORMS)(`the chart makes the objects of runtime-%s.yml${NO_HELM}`, (platform) => {
  const objects = rendered(RUNTIME, "--set", `platform=${platform}`);
  expect(byName(objects)).toEqual(byName(plain(`deploy/runtime-${platform}.yml`)));
});

test.skipIf(NO_HELM !== "")(`the chart's PodMonitor is the plain one${NO_HELM}`, () => {
  const monitors = rendered(COORDINATOR, "--set", "podMonitor.enabled=true").filter(
    ({ kind }) => kind === "PodMonitor",
  );
  expect(monitors).toEqual(plain("deploy/prometheus/podmonitor-coordinator.yml"));
});

test.skipIf(NO_HELM !== "")(`every value is used, and Kubernetes takes what comes of it${NO_HELM}`, () => {
  const values = {
    image: "registry.example.com/coordinator@sha256:00",
    initializerImage: "registry.example.com/initializer@sha256:11",
    imagePullSecrets: [{ name: "pull" }],
    runtimeClassName: "contrast-cc-metal-qemu-snp",
    env: [{ name: "CONTRAST_LOG_LEVEL", value: "debug" }],
    resources: { limits: { memory: "1Gi" } },
    replicas: 5,
    service: { type: "NodePort", externalTrafficPolicy: "Cluster", annotations: { "example.com/a": "b" } },
    podAnnotations: { "example.com/c": "d" },
    nodeSelector: { "example.com/e": "f" },
    tolerations: [{ key: "g", operator: "Exists" }],
    affinity: { nodeAffinity: {} },
  };
  const flags = Object.entries(values).flatMap(([name, value]) => ["--set-json", `${name}=${JSON.stringify(value)}`]);
  const resources = rendered(COORDINATOR, ...flags);
  expect(typeErrors(byName(resources))).toEqual([]);
  const all = byName(resources);
  const [container] = [{ image: values.image, resources: values.resources }];
  expect(all["Deployment coordinator"]).toMatchObject({
    spec: {
      replicas: 5,
      template: {
        metadata: { annotations: { "example.com/c": "d", "contrast.edgeless.systems/pod-role": "coordinator" } },
        spec: {
          runtimeClassName: values.runtimeClassName,
          imagePullSecrets: values.imagePullSecrets,
          nodeSelector: values.nodeSelector,
          tolerations: values.tolerations,
          affinity: values.affinity,
          initContainers: [{ image: values.initializerImage }],
          containers: [{ ...container, env: expect.arrayContaining(values.env) as unknown }],
        },
      },
    },
  });
  expect(all["Service coordinator"]).toMatchObject({
    metadata: { annotations: values.service.annotations },
    spec: { type: "NodePort", externalTrafficPolicy: "Cluster" },
  });
  const settings = ["platform=metal-qemu-snp", "overhead.memory=3Gi", "nodeSelector.zone=a", "tolerations[0].key=tee"];
  const runtime = byName(
    rendered(RUNTIME, ...[...settings, "installerImage=own/installer:1"].flatMap((value) => ["--set", value])),
  );
  expect(runtime[`DaemonSet ${runtimeClassName("metal-qemu-snp")}-installer`]).toMatchObject({
    spec: {
      template: {
        spec: {
          nodeSelector: { "katacontainers.io/kata-runtime": "true", zone: "a" },
          containers: [{ image: "own/installer:1" }],
        },
      },
    },
  });
  expect(runtime[`RuntimeClass ${runtimeClassName("metal-qemu-snp")}`]).toMatchObject({
    scheduling: {
      nodeSelector: { [`contrast.edgeless.systems/${runtimeClassName("metal-qemu-snp")}`]: "true", zone: "a" },
      tolerations: [{ key: "tee" }],
    },
    overhead: { podFixed: { memory: "3Gi" } },
  });
});

test.skipIf(NO_HELM !== "").each([
  [COORDINATOR, "replicas=0", "replicas"],
  [COORDINATOR, "runtimeClassName=kata", "runtimeClassName"],
  [COORDINATOR, "service.type=Ingress", "type"],
  [RUNTIME, "platform=metal", "'metal-qemu-snp'"],
  [RUNTIME, "overhead=", "platform"],
])(`%s refuses %s by name${NO_HELM}`, (chart, value, name) => {
  const { code, errors } = helm(chart, "--set", value);
  expect(code).not.toBe(0);
  expect(errors).toContain(name);
});

test.skipIf(NO_HELM !== "")(`the post-renderer of docs/helm.md gives Helm what generate makes${NO_HELM}`, async () => {
  const [, script = ""] =
    /^cat > contrast-generate\.sh <<'END'\n(.*?)^END$/ms.exec(readFileSync(join(root, "docs/helm.md"), "utf8")) ?? [];
  const folder = mkdtempSync(join(tmpdir(), "helm-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "contrast-generate.sh"), script, { mode: 0o755 });
  const cli = `exec ${process.execPath} ${join(root, "cli/main.ts")} "$@"`;
  writeFileSync(join(folder, "contrast"), `#!/bin/sh\n${cli}\n`, { mode: 0o755 });
  const args = ["template", "shop", join(root, COORDINATOR), "--post-renderer", "./contrast-generate.sh"];
  const { status, stdout, stderr } = spawnSync(HELM, args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, PATH: `${folder}:${process.env["PATH"]}` },
  });
  expect(status, stderr).toBe(0);
  writeFileSync(join(folder, "applied.yml"), stdout);
  const [policy] = await collectPolicies([join(folder, "applied.yml")]);
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")) as { Policies: object };
  expect(Object.entries(manifest.Policies)).toEqual([
    [policy?.hash, { SANs: ["coordinator", "*"], Role: "coordinator" }],
  ]);
  expect(byName(resourcesOf(stdout))).toMatchObject({
    "Deployment coordinator": {
      spec: { template: { spec: { runtimeClassName: runtimeClassName("metal-qemu-snp") } } },
    },
    "Service coordinator": {},
  });
});

test("a template names every field that the plain file has", () => {
  // Without helm, what is missing is still seen by the names of the fields.
  const templates = globSync(`${COORDINATOR}/templates/*.yaml`, { cwd: root })
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("\n");
  const values = readFileSync(join(root, COORDINATOR, "values.yaml"), "utf8");
  const fields = (text: string): string[] =>
    [...text.matchAll(/^\s*(?:- )?([A-Za-z]+):/gm)].map(([, name = ""]) => name);
  const known = new Set(fields(templates + values));
  expect(fields(readFileSync(join(root, "deploy/coordinator.yml"), "utf8")).filter((name) => !known.has(name))).toEqual(
    [],
  );
});
