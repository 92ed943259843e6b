import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DaemonSet, Deployment } from "kubernetes-types/apps/v1.js";
import type { Container, Pod, Service, ServiceAccount } from "kubernetes-types/core/v1.js";
import type { RuntimeClass } from "kubernetes-types/node/v1.js";
import type { PodDisruptionBudget } from "kubernetes-types/policy/v1.js";
import type { Role, RoleBinding } from "kubernetes-types/rbac/v1.js";
import { afterAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { runtimeClassName } from "../cli/generate/platforms.ts";
import { PLATFORMS } from "../cli/generate/platform-names.ts";
import { KNOWN } from "../runtime/environment.ts";
import { parseIngressRules } from "../mesh-rules/ingress-rules.ts";
import { VERSION } from "../runtime/version.ts";
import { typeErrors } from "./kubernetes-types.ts";

/** The Kubernetes files that people apply. */

const root = join(import.meta.dirname, "..");
const scratch = mkdtempSync(join(tmpdir(), "contrast-deploy-test-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const NO_KUBECTL = spawnSync("kubectl", ["version", "--client"]).status === 0 ? "" : ": there is no kubectl";

type Resource = { apiVersion: string; kind: string; metadata: { name: string } };

function parse(text: string): Resource[] {
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Resource;
  });
}

const FILES = ["deploy", "demo/deployment"].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".yml") && name !== "compose.yml")
    .map((name) => `${folder}/${name}`),
);
const of = (file: string): Resource[] => parse(readFileSync(join(root, file), "utf8"));
const named = (resources: readonly Resource[]): Record<string, Resource> =>
  Object.fromEntries(
    resources.map((resource, index) => [`${index}-${resource.kind}-${resource.metadata.name}`, resource]),
  );

const [coordinator, account, role, binding, budget, service, ready, peers] = of("deploy/coordinator.yml") as [
  Deployment,
  ServiceAccount,
  Role,
  RoleBinding,
  PodDisruptionBudget,
  Service,
  Service,
  Service,
];
const pod = coordinator.spec?.template;
const container = pod?.spec?.containers[0] as Container;
const [forwarder] = of("deploy/port-forwarder.yml") as [Pod];

test("all resources are what Kubernetes takes", () => {
  expect(FILES).toHaveLength(17);
  expect(typeErrors(named(FILES.flatMap(of)))).toEqual([]);
});

test.each([
  ["a field that does not exist", `'"publishNotReadyAdresses"' does not exist`, { publishNotReadyAdresses: true }],
  ["a value of another kind", "Type 'string' is not assignable to type 'number'", { ports: [{ port: "1313" }] }],
  ["a field that lacks", "Property 'port' is missing", { ports: [{ name: "userapi" }] }],
])("the check finds %s", (_, complaint, change) => {
  const errors = typeErrors({ wrong: { ...service, spec: { ...service.spec, ...change } } });
  expect(errors.join("\n")).toContain(complaint);
});

test.skipIf(NO_KUBECTL !== "").each([
  ["deploy", 9],
  ["demo/deployment", 16],
])(`kubectl kustomize %s works offline and gives resources of the same types${NO_KUBECTL}`, (folder, count) => {
  const text = execFileSync("kubectl", ["kustomize", folder], { cwd: root, encoding: "utf8" });
  const resources = parse(text);
  expect(resources).toHaveLength(count);
  expect(typeErrors(named(resources))).toEqual([]);
});

test("the images of all files are those of this version", () => {
  for (const file of [...FILES, "deploy/compose.yml"]) {
    const images = [...readFileSync(join(root, file), "utf8").matchAll(/image: (contrast\/\S+)/g)].map(
      ([, image]) => image,
    );
    for (const image of images) expect(image, file).toMatch(new RegExp(`:${VERSION}$`));
  }
});

test("there is a runtime class for every platform, by the name that generate writes", () => {
  expect(FILES.filter((file) => file.includes("runtime-"))).toEqual(
    PLATFORMS.map((name) => `deploy/runtime-${name}.yml`),
  );
  for (const platform of PLATFORMS) {
    const [runtime] = of(`deploy/runtime-${platform}.yml`);
    expect(runtime).toMatchObject({ kind: "RuntimeClass", metadata: { name: runtimeClassName(platform) } });
  }
});

test.each([
  // kata-cc-isolation, as AKS had it
  ["aks-clh-snp", "kata-cc", { nodeSelector: { "kubernetes.azure.com/kata-cc-isolation": "true" } }, { memory: "2Gi" }],
  ["simulated", "runc", undefined, undefined],
])("the class of %s is of a runtime that is there: nothing is installed", (platform, handler, scheduling, podFixed) => {
  const [runtime, ...others] = of(`deploy/runtime-${platform}.yml`) as [RuntimeClass];
  expect(others).toEqual([]);
  expect(runtime).toMatchObject({ handler });
  expect(runtime.scheduling).toEqual(scheduling);
  expect(runtime.overhead).toEqual(podFixed && { podFixed });
});

test.each([
  // kata-containers, tools/packaging/kata-deploy/helm-chart/kata-deploy/templates/runtimeclasses.yaml
  ["runtime-k3s-qemu-snp", "qemu-snp", { memory: "2048Mi", cpu: "1" }],
  ["runtime-k3s-qemu-tdx", "qemu-tdx", { memory: "2048Mi", cpu: "1" }],
  ["runtime-metal-qemu-snp", "qemu-snp", { memory: "2048Mi", cpu: "1" }],
  ["runtime-metal-qemu-tdx", "qemu-tdx", { memory: "2048Mi", cpu: "1" }],
  ["node-installer-simulated", "runc", undefined],
])("%s has a class and its installer, and no other version has any of its names", (file, shim, podFixed) => {
  const resources = of(`deploy/${file}.yml`);
  const [runtime] = resources as [RuntimeClass];
  const { name } = runtime.metadata ?? {};
  const label = `contrast.edgeless.systems/${name ?? ""}`;
  expect(runtime).toMatchObject({ handler: name, scheduling: { nodeSelector: { [label]: "true" } } });
  expect(runtime.overhead).toEqual(podFixed && { podFixed });
  expect(resources.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
    `RuntimeClass ${name}`,
    ...["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet"].map((kind) => `${kind} ${name}-installer`),
  ]);
  const spec = (resources.at(-1) as DaemonSet).spec?.template.spec;
  expect(spec?.nodeSelector).toEqual(shim === "runc" ? undefined : { "katacontainers.io/kata-runtime": "true" });
  const env = Object.fromEntries((spec?.containers[0]?.env ?? []).map(({ name, value }) => [name, value]));
  expect(env).toEqual({
    CONTRAST_RUNTIME_CLASS: name,
    CONTRAST_RUNTIME: shim,
    CONTRAST_DAEMON_SET: `kube-system/${name}-installer`,
    CONTRAST_NODE_NAME: undefined,
  });
  for (const variable of Object.keys(env)) expect(KNOWN).toContain(variable);
});

test("the Coordinator has probes, and no privileges", () => {
  expect(pod?.spec).toMatchObject({ runtimeClassName: "contrast-cc", automountServiceAccountToken: false });
  expect(container.securityContext).toEqual({
    // As the containers that generate adds: the TEE is root's.
    runAsNonRoot: false,
    runAsUser: 0,
    runAsGroup: 0,
    readOnlyRootFilesystem: true,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  });
  for (const name of ["startup", "liveness", "readiness"] as const) {
    expect(container[`${name}Probe`]?.httpGet).toEqual({ path: `/probe/${name}`, port: "probes" });
  }
  expect(container.resources?.requests?.["memory"]).toBe(container.resources?.limits?.["memory"]);
});

test("its history is in ConfigMaps, and only what may be lost is in a volume", () => {
  const value = (name: string) => container.env?.find((variable) => variable.name === name)?.value;
  expect(value("CONTRAST_STATE_STORE")).toBe("kubernetes");
  const [state, api] = pod?.spec?.volumes ?? [];
  expect(state?.emptyDir).toEqual({});
  expect(container.volumeMounts).toEqual([
    { name: state?.name, mountPath: value("CONTRAST_STATE_DIR") },
    { name: api?.name, mountPath: "/var/run/secrets/kubernetes.io/serviceaccount", readOnly: true },
  ]);
  // What the API server itself puts into pods (k8s.io/kubernetes, plugin/pkg/admission/serviceaccount/admission.go).
  expect(api?.projected).toEqual({
    defaultMode: 420,
    sources: [
      { serviceAccountToken: { path: "token", expirationSeconds: 3607 } },
      { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      {
        downwardAPI: {
          items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }],
        },
      },
    ],
  });
});

test("three of them go on without one, each on a node of its own where there are three", () => {
  const labels = { "app.kubernetes.io/name": "coordinator" };
  expect(coordinator.spec).toMatchObject({
    replicas: 3,
    strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
  });
  expect(pod?.metadata?.labels).toMatchObject(labels);
  const [term, ...others] = pod?.spec?.affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  expect(others).toEqual([]);
  // Required, it would keep two of three from running on a cluster of one node.
  expect(pod?.spec?.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution).toBeUndefined();
  expect(term?.podAffinityTerm).toEqual({
    topologyKey: "kubernetes.io/hostname",
    labelSelector: { matchLabels: labels },
  });
  expect(pod?.spec?.topologySpreadConstraints).toMatchObject([
    {
      topologyKey: "topology.kubernetes.io/zone",
      whenUnsatisfiable: "ScheduleAnyway",
      labelSelector: { matchLabels: labels },
    },
  ]);
  // Without an eviction policy: what is not ready may be the last one with the secrets.
  expect(budget.spec).toEqual({ maxUnavailable: 1, selector: { matchLabels: labels } });
});

test("their account may do nothing but keep ConfigMaps, and only their container gets its token", () => {
  expect(pod?.spec?.serviceAccountName).toBe(account.metadata?.name);
  expect(account.automountServiceAccountToken).toBe(false);
  expect(role.rules?.flatMap(({ apiGroups }) => apiGroups)).toEqual(role.rules?.map(() => ""));
  expect(role.rules?.flatMap(({ resources }) => resources)).toEqual(role.rules?.map(() => "configmaps"));
  expect(role.rules?.flatMap(({ verbs }) => verbs)).not.toContain("*");
  expect(binding).toMatchObject({
    roleRef: { kind: "Role", name: role.metadata?.name },
    subjects: [{ kind: "ServiceAccount", name: account.metadata?.name }],
  });
  for (const other of pod?.spec?.initContainers ?? []) expect(other.volumeMounts).toBeUndefined();
});

type PodBearer = { spec?: { template?: { spec?: Pod["spec"] }; containers?: readonly Container[] } };

/** The pods' specs of all files. */
const POD_SPECS = FILES.flatMap((file) =>
  of(file).flatMap((resource) => {
    const { spec } = resource as PodBearer;
    const podSpec = spec?.template?.spec ?? (spec?.containers === undefined ? undefined : (spec as Pod["spec"]));
    return podSpec === undefined ? [] : [[`${file} ${resource.kind} ${resource.metadata.name}`, podSpec] as const];
  }),
);

test.each(POD_SPECS)("kubectl describe shows why a container of %s failed", (_, spec) => {
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  expect(containers.map(({ terminationMessagePolicy: policy }) => policy)).toEqual(
    containers.map(() => "FallbackToLogsOnError"),
  );
});

test("Services of others set no variables of the Coordinator and the port forwarder", () => {
  expect([pod?.spec?.enableServiceLinks, forwarder.spec?.enableServiceLinks]).toEqual([false, false]);
});

test("the Coordinator is restarted only when it was silent for five minutes, however busy it is", () => {
  const { periodSeconds = 10, timeoutSeconds = 1, failureThreshold = 3 } = container.livenessProbe ?? {};
  // From the first probe that gets no answer to the end of the last one.
  expect((failureThreshold - 1) * periodSeconds + timeoutSeconds).toBeGreaterThanOrEqual(290);
  expect(timeoutSeconds).toBeGreaterThanOrEqual(20);
  expect(container.livenessProbe?.terminationGracePeriodSeconds).toBeUndefined();
  // Without a number of its own a probe has one second.
  expect(container.startupProbe).toMatchObject({ timeoutSeconds: 5, failureThreshold: 60 });
  expect(container.readinessProbe).toMatchObject({ timeoutSeconds: 5 });
});

test("before the Coordinator runs, all ports are closed but its own", () => {
  const [first, ...others] = pod?.spec?.initContainers ?? [];
  expect(others).toEqual([]);
  expect(first?.command?.at(-1)).toBe("static-rules");
  const [{ name, value = "" } = { name: "" }, ...more] = first?.env ?? [];
  expect([name, more]).toEqual([
    "CONTRAST_INGRESS_PROXY_CONFIG",
    [{ name: "CONTRAST_OPEN_ATTESTATION_API", value: "1" }],
  ]);
  expect(parseIngressRules(value)).toEqual(
    container.ports?.map((port) => ({ name: port.name, port: port.containerPort, disableTls: true })),
  );
});

test("the Service leads to the Coordinator before it is ready, and the probes' port is nobody's", () => {
  expect(pod?.metadata?.labels).toMatchObject(service.spec?.selector ?? {});
  const ports = Object.entries({ userapi: 1313, attest: 1314, meshapi: 7777, transit: 8200 });
  expect(service.spec).toMatchObject({
    publishNotReadyAddresses: true,
    ports: ports.map(([name, port]) => ({ name, port, targetPort: name })),
  });
  for (const [name, containerPort] of ports) expect(container.ports).toContainEqual({ name, containerPort });
  expect(pod?.metadata?.labels).toMatchObject(coordinator.spec?.selector.matchLabels ?? {});
  expect(forwarder.metadata?.labels).not.toMatchObject(service.spec?.selector ?? {});
  expect(service.metadata?.name).toBe("coordinator");
  expect(service.spec?.type).toBe("LoadBalancer");
  // Limits of a source are of no use where all clients have the address of a node.
  expect(service.spec?.externalTrafficPolicy).toBe("Local");
});

test("Initializers come to those that are ready, and Coordinators to all, each at its own address", () => {
  const { env = [] } = container;
  const { selector } = service.spec ?? {};
  expect(ready).toMatchObject({ metadata: { name: "coordinator-ready" }, spec: { selector } });
  expect(ready.spec).not.toHaveProperty("publishNotReadyAddresses");
  expect(ready.spec?.ports).toEqual(service.spec?.ports);
  expect(peers.spec).toMatchObject({ clusterIP: "None", publishNotReadyAddresses: true, selector });
  const [port, ...others] = peers.spec?.ports ?? [];
  expect([port?.targetPort, others]).toEqual(["meshapi", []]);
  expect(env).toContainEqual({ name: "CONTRAST_PEERS", value: `${peers.metadata?.name}:${port?.port}` });
});

test("the demo's Coordinator is the same, in the demo's namespace", () => {
  const moved = (text: string): unknown[] =>
    parse(text.replaceAll("  namespace: emojivoto\n", "").replaceAll("part-of: emojivoto", "part-of: contrast"));
  const demo = readFileSync(join(root, "demo/deployment/coordinator.yml"), "utf8");
  expect(demo).toContain("namespace: emojivoto");
  expect(moved(demo)).toEqual(of("deploy/coordinator.yml"));
});

test("the port forwarder passes bytes on in both directions, and ends of connections", async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  const target = await listen(server);
  const own = createServer();
  const port = await listen(own);
  await new Promise((resolve) => own.close(resolve));
  const [, ...args] = forwarder.spec?.containers[0]?.command ?? [];
  const script = (args[1] ?? "")
    .replace('host: "coordinator", port: 1313', `host: "127.0.0.1", port: ${target}`)
    .replace("listen(1313)", `listen(${port}, "127.0.0.1", () => console.log("ready"))`);
  const program = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await once(program.stdout, "data");
    const client = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    client.end("over and back");
    expect(await readAll(client)).toBe("over and back");
    program.kill("SIGTERM");
    expect(await once(program, "exit")).toEqual([0, null]);
  } finally {
    program.kill("SIGKILL");
    server.close();
  }
});

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as { port: number }).port;
}

async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test("generate makes the files of deploy ready, and lacks nothing but the digest of a checkout's image", () => {
  cpSync(join(root, "deploy"), join(scratch, "deploy"), { recursive: true });
  generate("deploy", "deploy/coordinator.yml");
});

test.skipIf(NO_KUBECTL !== "")(`generate makes ready what kustomize makes of them${NO_KUBECTL}`, () => {
  writeFileSync(join(scratch, "all.yml"), execFileSync("kubectl", ["kustomize", "deploy"], { cwd: root }));
  generate("all.yml", "all.yml");
});

function generate(path: string, file: string): void {
  const args = ["--offline", "--reference-values", "metal-qemu-snp", "--output", "json", path];
  const { stdout, stderr, status } = spawnSync(process.execPath, [join(root, "cli/main.ts"), "generate", ...args], {
    cwd: scratch,
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
  const { policies, findings } = JSON.parse(stdout) as { policies: string[]; findings: { code: string }[] };
  expect(policies).toEqual([expect.stringContaining(` Deployment/coordinator (${file})`)]);
  expect(findings.map(({ code }) => code)).toEqual(["image_digest"]);
  expect(readFileSync(join(scratch, file), "utf8")).toContain(
    `runtimeClassName: ${runtimeClassName("metal-qemu-snp")}`,
  );
}
