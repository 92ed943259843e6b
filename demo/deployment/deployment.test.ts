import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isMap, parseAllDocuments } from "yaml";
import { z } from "zod";
import { formatEndpoint } from "../../mesh-rules/endpoint.ts";
import { parseEgressRules } from "../../mesh-rules/egress-rules.ts";
import { parseIngressRules } from "../../mesh-rules/ingress-rules.ts";

const PREFIX = "contrast.edgeless.systems/";
const FILES = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".yml"));

const read = (file: string): string => readFileSync(`${import.meta.dirname}/${file}`, "utf8");
const parse = (text: string): unknown[] =>
  parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as unknown;
  });

const port = z.object({ name: z.string(), containerPort: z.number() });
const workload = z.object({
  kind: z.enum(["Deployment", "StatefulSet"]),
  metadata: z.object({ name: z.string(), namespace: z.literal("emojivoto") }),
  spec: z.object({
    selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
    template: z.object({
      metadata: z.object({ labels: z.record(z.string(), z.string()), annotations: z.record(z.string(), z.string()).default({}) }),
      spec: z.object({
        runtimeClassName: z.literal("contrast-cc"),
        containers: z.tuple([
          z.object({
            image: z.string(),
            command: z.tuple([z.literal("node"), z.string()]).optional(),
            env: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
            ports: z.array(port).default([]),
            resources: z.object({ limits: z.object({ memory: z.string().regex(/^\d+Mi$/) }) }),
            securityContext: z.object({
              readOnlyRootFilesystem: z.literal(true),
              allowPrivilegeEscalation: z.literal(false),
              capabilities: z.strictObject({ drop: z.tuple([z.literal("ALL")]) }),
            }),
          }),
        ]),
      }),
    }),
  }),
});
const service = z.object({
  kind: z.literal("Service"),
  metadata: z.object({ name: z.string(), namespace: z.literal("emojivoto") }),
  spec: z.object({
    selector: z.record(z.string(), z.string()),
    ports: z.array(z.object({ port: z.number(), targetPort: z.string() })),
  }),
});

function workloadOf(file: string): z.infer<typeof workload> {
  return workload.parse(parse(read(file))[0]);
}

const WORKLOADS = FILES.filter((file) => file !== "ns.yml").map((file) => [file, workloadOf(file)] as const);
const SERVICES = FILES.flatMap((file) => parse(read(file)).slice(1))
  .filter((document) => (document as { kind: string }).kind === "Service")
  .map((document) => service.parse(document));

test("every file is there, and the namespace is the one of the rest", () => {
  expect(FILES).toEqual(["coordinator.yml", "emoji.yml", "ns.yml", "vote-bot.yml", "voting.yml", "web.yml"]);
  expect(parse(read("ns.yml"))).toEqual([{ apiVersion: "v1", kind: "Namespace", metadata: { name: "emojivoto" } }]);
});

test.each([
  ["coordinator.yml", { "pod-role": "coordinator" }],
  ["emoji.yml", { "servicemesh-ingress": "" }],
  ["voting.yml", { "servicemesh-ingress": "" }],
  [
    "web.yml",
    {
      "servicemesh-egress": "emoji#127.137.0.1:8081#emoji-svc:8080##voting#127.137.0.2:8081#voting-svc:8080",
      "servicemesh-ingress": "web#8080#false",
    },
  ],
  ["vote-bot.yml", {}],
])("%s has these annotations and no others", (file, annotations) => {
  expect(workloadOf(file).spec.template.metadata.annotations).toEqual(
    Object.fromEntries(Object.entries(annotations).map(([name, value]) => [PREFIX + name, value])),
  );
});

test.each(WORKLOADS)("%s calls Services, by an egress rule or itself", (_, { spec }) => {
  const { annotations } = spec.template.metadata;
  const [{ env }] = spec.template.spec.containers;
  const rules = parseEgressRules(annotations[`${PREFIX}servicemesh-egress`] ?? "");
  const hosts = env.filter(({ name }) => name.endsWith("_HOST")).map(({ value }) => value);
  const targets = SERVICES.flatMap(({ metadata, spec }) => spec.ports.map((port) => `${metadata.name}:${port.port}`));
  const listens = rules.map(({ listen }) => formatEndpoint(listen));
  expect(hosts).toEqual(expect.arrayContaining(listens));
  const own = hosts.filter((host) => !listens.includes(host));
  expect(targets).toEqual(expect.arrayContaining([...own, ...rules.map(({ upstream }) => formatEndpoint(upstream))]));
});

test.each(WORKLOADS)("every ingress rule of %s is for a port of the application", (_, { spec }) => {
  const rules = parseIngressRules(spec.template.metadata.annotations[`${PREFIX}servicemesh-ingress`] ?? "");
  const ports = spec.template.spec.containers[0].ports.map(({ containerPort }) => containerPort);
  expect(ports).toEqual(expect.arrayContaining(rules.map(({ port }) => port)));
});

test("every service selects one workload and its ports exist there", () => {
  expect(SERVICES.map(({ metadata }) => metadata.name)).toEqual([
    "coordinator",
    "coordinator-ready",
    "coordinator-peers",
    "emoji-svc",
    "voting-svc",
    "web-svc",
  ]);
  for (const { spec } of SERVICES) {
    const selected = WORKLOADS.map(([, workload]) => workload.spec).filter(({ template }) =>
      Object.entries(spec.selector).every(([key, value]) => template.metadata.labels[key] === value),
    );
    expect(selected).toHaveLength(1);
    const ports = selected.flatMap(({ template }) => template.spec.containers[0].ports.map(({ name }) => name));
    expect(ports).toEqual(expect.arrayContaining(spec.ports.map(({ targetPort }) => targetPort)));
  }
});

test.each(WORKLOADS)("%s selects its own pods and starts a program that exists", (_, { spec }) => {
  expect(spec.template.metadata.labels).toMatchObject(spec.selector.matchLabels);
  const [{ image, command }] = spec.template.spec.containers;
  if (image === "contrast/emojivoto:0.1.0") expect(existsSync(command?.[1].replace(/\.js$/, ".ts") ?? "")).toBe(true);
  else expect({ image, command }).toEqual({ image: "contrast/coordinator:0.1.0", command: undefined });
});

test("the Coordinator is reached before it is ready, and its probes are the program's", () => {
  const [set, ...others] = parse(read("coordinator.yml"));
  expect(others).toContainEqual(
    expect.objectContaining({
      metadata: expect.objectContaining({ name: "coordinator" }) as unknown,
      spec: expect.objectContaining({ type: "LoadBalancer", publishNotReadyAddresses: true }) as unknown,
    }),
  );
  const probe = (path: string) => ({ httpGet: { path: `/probe/${path}`, port: "probes" } });
  const container = {
    startupProbe: probe("startup"),
    livenessProbe: probe("liveness"),
    readinessProbe: probe("readiness"),
    ports: [
      { name: "userapi", containerPort: 1313 },
      { name: "attest", containerPort: 1314 },
      { name: "meshapi", containerPort: 7777 },
      { name: "transit", containerPort: 8200 },
      { name: "probes", containerPort: 9102 },
    ],
  };
  expect(set).toMatchObject({ spec: { template: { spec: { containers: [container] } } } });
});

test.each(FILES)("%s keeps its comments and all that was not touched when a document of it is edited", (file) => {
  const text = read(file);
  const documents = parseAllDocuments(text);
  const [first] = documents;
  if (first === undefined || !isMap(first.contents)) throw new Error("no document");
  first.setIn(["metadata", "annotations", "example.com/edited"], "yes");
  const edited = documents.map(String).join("");

  const comments = (of: string): string[] => of.match(/#\s.*$/gm) ?? [];
  expect(comments(edited)).toEqual(comments(text));
  const [before, ...others] = parse(text) as [{ metadata: object }, ...unknown[]];
  const annotations = { "example.com/edited": "yes" };
  expect(parse(edited)).toEqual([{ ...before, metadata: { ...before.metadata, annotations } }, ...others]);
});
