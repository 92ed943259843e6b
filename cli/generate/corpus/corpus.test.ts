import { MESH_PROXY } from "../../../policy/own-images.ts";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { INITDATA_ANNOTATION } from "../../../manifest/initdata-annotation.ts";
import { INITIALIZER } from "../initializer.ts";
import { isVolumeContainer } from "../volume-container.ts";
import { CERTIFICATES } from "../certificates.ts";
import { parseResourceFile } from "../../../kubernetes/resource-file.ts";
import { type Loose } from "../../../kubernetes/test-files.ts";
import { cacheImage, workspace } from "../test-workspace.ts";

/**
 * Resources in the shapes that Helm, kustomize, kubectl, editors and years leave, all of them given to `generate` at
 * once, as a folder is.
 */

const before = Object.fromEntries(
  readdirSync(import.meta.dirname)
    .filter((name) => !name.endsWith(".ts"))
    .map((name) => [name, readFileSync(join(import.meta.dirname, name), "utf8")]),
);

interface Outcome {
  readonly after: Readonly<Record<string, string>>;
  /** Of a second run. */
  readonly changedFiles: readonly string[];
  readonly policies: readonly string[];
  /** All of it in one file. */
  readonly joined: string;
}

let outcome: Promise<Outcome> | undefined;

/** One run for all tests. */
function generated(): Promise<Outcome> {
  outcome ??= (async () => {
    const { dir, run, read } = await workspace(before);
    for (const image of images()) await cacheImage(dir, image, { Cmd: ["app"] });
    await run({ outputPath: join(dir, "all.yaml") });
    const { policies } = await run();
    const texts = Object.keys(before).map(async (name) => [name, await read(`app/${name}`)] as const);
    return {
      after: Object.fromEntries(await Promise.all(texts)),
      joined: await read("all.yaml"),
      changedFiles: (await run()).changedFiles,
      policies: policies.map(({ name, kind, file }) => `${relative(join(dir, "app"), file)} ${kind}/${name}`),
    };
  })();
  return outcome;
}

/** Files in which there is nothing to do, although some of them look as if there was. */
const OTHERS = [
  "argocd.yaml",
  "ci.yml",
  "crd.yaml",
  "kustomization.yaml",
  "node-exporter.yaml",
  "nothing.yaml",
  "openapi.json",
  "operators.yaml",
  "strategic-patch.yaml",
  "values.yaml",
];
const WORKLOADS = Object.keys(before).filter((name) => !OTHERS.includes(name));

/** Lines that have to change: brackets around what does. */
const CHANGED_LINES: Readonly<Record<string, RegExp>> = {
  "cassandra.yaml": /metadata: \{ labels|volumeMounts: \[/,
  "flow.yml": /kind: Pod/,
  "kafka.yaml": /metadata: \{ labels/,
  "kubectl-get.json": /"annotations": \{\}/,
  "linkerd.yml": /- \{name: app/,
  "minified.json": /./,
  "old-groups.yaml": /metadata: \{labels: \{app: old\}\}|- \{name: app|^ *image:/,
  "tabs.json": /"metadata": \{ "labels"|"containers"/,
  "typed-list.yaml": /metadata: \{name: nested-pod\}|containers: \[/,
};

test.for(OTHERS)("%s passes byte for byte", async (name) => {
  const { after } = await generated();
  expect(after[name]).toBe(before[name]);
});

test.for(WORKLOADS)("%s gets what its pods need, and nothing else of it changes", async (name) => {
  const { after } = await generated();
  const [old = "", text = ""] = [before[name], after[name]];
  expect(text).not.toBe(old);
  const were = parseResourceFile(name, old).values;
  const are = parseResourceFile(name, text).values;
  expect(are.map((value, index) => without(value, were[index]))).toEqual(were);
  // Readers of other versions of YAML see no other changes, either.
  for (const version of ["1.1", "1.2"] as const) {
    const read = (yaml: string): Loose[] => parseAllDocuments(yaml, { version, merge: true }).map((doc) => doc.toJS());
    const others = read(old);
    expect(read(text).map((value, index) => without(value, others[index]))).toEqual(others);
  }
});

test.for(WORKLOADS)("%s keeps its lines", async (name) => {
  const { after } = await generated();
  const [old = "", text = ""] = [before[name], after[name]];
  const lines = text.split("\n");
  let at = -1;
  const stay = (line: string): boolean => !/runtimeClassName/.test(line) && CHANGED_LINES[name]?.test(line) !== true;
  for (const line of old.split("\n").filter(stay)) {
    at = lines.findIndex((other, index) => index > at && same(line, other));
    expect(at, line).toBeGreaterThanOrEqual(0);
  }
  if (old.includes("\r\n")) expect(text).not.toMatch(/[^\r]\n/);
});

test("a second run changes nothing", async () => {
  const { changedFiles } = await generated();
  expect(changedFiles).toEqual([]);
});

test("one file says what all of them say", async () => {
  const { after, joined } = await generated();
  const read = (name: string, text = ""): unknown[] =>
    parseResourceFile(name, text).values.filter((value) => value !== null);
  expect(read("all.yaml", joined)).toEqual(
    Object.keys(before)
      .toSorted()
      .flatMap((name) => read(name, after[name])),
  );
});

test("every pod that asks for a confidential VM has a policy", async () => {
  const { policies } = await generated();
  expect(policies).toMatchInlineSnapshot(`
    [
      "anchors.yaml Deployment/anchors",
      "backup.yaml CronJob/pg-backup",
      "backup.yaml CronJob/hello",
      "cassandra.yaml StatefulSet/cassandra",
      "coordinator.yml StatefulSet/coordinator",
      "elasticsearch.yaml StatefulSet/es-cluster",
      "encrypted-volume.yaml StatefulSet/ledger",
      "envoy.yaml Deployment/envoy",
      "flow.yml Pod/flow",
      "fluentd.yaml DaemonSet/fluentd",
      "grafana.yaml Deployment/grafana",
      "guestbook.yaml ReplicationController/frontend",
      "helm-postgresql.yaml StatefulSet/release-postgresql",
      "helm-wordpress.yaml Deployment/release-wordpress",
      "istio.yaml Deployment/reviews-v1",
      "kafka.yaml StatefulSet/kafka",
      "kubectl-get.json Pod/json-web",
      "kubectl-get.yaml Deployment/podinfo",
      "kustomized.yaml Deployment/prod-deployment",
      "linkerd.yml Pod/linkerd-pod",
      "loki.yaml StatefulSet/loki",
      "migrate.yaml Job/release-migrate",
      "minified.json Deployment/minified",
      "mongodb.yaml StatefulSet/mongo",
      "mysql.yaml StatefulSet/mysql",
      "nginx.yml Deployment/nginx-deployment",
      "no-end.yaml ReplicaSet/no-end",
      "old-groups.yaml Deployment/old-extensions",
      "old-groups.yaml Deployment/old-apps",
      "postgres.yaml StatefulSet/postgres",
      "prometheus.yaml Deployment/prometheus",
      "rabbitmq.yaml StatefulSet/rabbitmq",
      "readme.yaml Pod/readme",
      "redis.yml Deployment/redis",
      "tabs.json ReplicaSet/tabs",
      "traefik.yaml Deployment/traefik",
      "typed-list.yaml Deployment/listed-one",
      "typed-list.yaml Pod/nested-pod",
      "windows.yaml Deployment/windows",
      "yaml11.yaml Pod/yaml11",
    ]
  `);
});

const DIGEST = /@sha256:[0-9a-f]{64}/;

/** What `generate` puts into resources, taken out again. */
function without(value: Loose, was: Loose): Loose {
  if (value?.items !== undefined && was?.items !== undefined) {
    return { ...value, items: value.items.map((item: Loose, index: number) => without(item, was.items[index])) };
  }
  const old = templateOf(was);
  const template = templateOf(value);
  if (!String(old?.spec?.runtimeClassName).startsWith("contrast-cc")) return value;
  const { spec } = template;
  expect(spec.runtimeClassName).toMatch(/^contrast-cc-metal-qemu-snp-[0-9a-f]{8}$/);
  expect(template.metadata.annotations).toHaveProperty([INITDATA_ANNOTATION]);
  delete template.metadata.annotations[INITDATA_ANNOTATION];
  restore(template.metadata, old.metadata, "annotations");
  restore(template, old, "metadata");
  spec.runtimeClassName = old.spec.runtimeClassName;
  for (const field of ["initContainers", "containers"]) {
    if (spec[field] === undefined) continue;
    spec[field] = spec[field].filter(
      (it: Loose) => it.name !== INITIALIZER && it.name !== MESH_PROXY && !isVolumeContainer(it),
    );
    for (const [index, container] of spec[field].entries()) {
      const { image } = old.spec[field][index];
      if (!image.includes("@")) container.image = container.image.replace(DIGEST, "");
      container.volumeMounts = container.volumeMounts?.filter(({ name }: Loose) => name !== CERTIFICATES.volume);
      restore(container, old.spec[field][index], "volumeMounts");
    }
  }
  spec.volumes = spec.volumes?.filter(({ name }: Loose) => name !== CERTIFICATES.volume);
  restore(spec, old.spec, "initContainers");
  restore(spec, old.spec, "volumes");
  return value;
}

/** A list or an object that is empty again is what it was: not there, or null. */
function restore(value: Loose, old: Loose, key: string): void {
  if (Object.keys(value[key] ?? {}).length > 0) return;
  if (old !== undefined && old !== null && Object.hasOwn(old, key)) value[key] = old[key];
  else delete value[key];
}

function templateOf(value: Loose): Loose {
  if (value?.kind === "Pod") return value;
  return value?.spec?.jobTemplate?.spec.template ?? value?.spec?.template;
}

/** The images of all workloads, but ours. */
function images(): string[] {
  const resources = Object.entries(before).flatMap(([name, text]) => parseResourceFile(name, text).values as Loose[]);
  const pods = resources.flatMap((value) => [value, ...(value?.items ?? []), ...(value?.items?.[1]?.items ?? [])]);
  const containers = pods.flatMap((value) => templateOf(value)?.spec?.containers ?? []);
  return containers.map(({ image }) => image).filter((image) => image !== undefined && !/@|^contrast\//.test(image));
}

/** In JSON there may be a comma more; a key that was empty says no more that it is; an image has a digest. */
function same(line: string, other: string): boolean {
  const bare = (text: string): string =>
    text
      .replace(/,?\r?$/, "")
      .replace(/: *(?:\{\}|\[\]|~|null)(?= |$)/, ":")
      .replace(DIGEST, "");
  return line === other || bare(line) === bare(other);
}
