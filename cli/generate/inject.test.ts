import { join } from "node:path";
import { expect, test } from "vitest";
import { regoOf } from "../../manifest/initdata.ts";
import { fromAnnotation, INITDATA_ANNOTATION } from "../../manifest/initdata-annotation.ts";
import { collectPolicies } from "../../policy/collected-policies.ts";
import { runtimeClassName } from "./platforms.ts";
import { WEB, COORDINATOR, workspace, podSpecs, annotationOf } from "./test-workspace.ts";

const NO_ADMIN_PORT = { name: "CONTRAST_ADMIN_PORT" };
const DIGEST = `sha256:${"0".repeat(64)}`;

test("gives a pod its runtime class, the Initializer, the mesh proxy, the volume and the mounts", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run();
  const certs = { name: "contrast-tls-certs", mountPath: "/tls-config" };
  const security = {
    runAsUser: 0,
    runAsNonRoot: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    seccompProfile: { type: "RuntimeDefault" },
  };
  const command = ["/usr/local/bin/node", "/opt/contrast/mesh-proxy/main.js"];
  const exec = { command: [...command, "healthcheck"] };
  expect(podSpecs(await read("app/web.yml")).web).toEqual({
    runtimeClassName: expect.stringMatching(/^contrast-cc-metal-qemu-snp-[0-9a-f]{8}$/) as string,
    initContainers: [
      {
        name: "contrast-initializer",
        image: "contrast/initializer:0.1.0",
        command: ["/usr/local/bin/node", "/opt/contrast/initializer/main.js"],
        env: [
          { name: "COORDINATOR_HOST", value: "coordinator" },
          { name: "CONTRAST_INGRESS_PROXY_CONFIG", value: "web#8080#false" },
          NO_ADMIN_PORT,
        ],
        terminationMessagePolicy: "FallbackToLogsOnError",
        securityContext: { ...security, capabilities: { add: ["NET_ADMIN", "NET_RAW"], drop: ["ALL"] } },
        resources: { requests: { cpu: "10m", memory: "128Mi" }, limits: { memory: "128Mi" } },
        volumeMounts: [certs],
      },
      {
        name: "contrast-mesh-proxy",
        image: "contrast/mesh-proxy:0.1.0",
        command,
        restartPolicy: "Always",
        env: [
          { name: "CONTRAST_INGRESS_PROXY_CONFIG", value: "web#8080#false" },
          { name: "CONTRAST_EGRESS_PROXY_CONFIG", value: "db#127.137.0.1:5432#db:5432" },
          NO_ADMIN_PORT,
        ],
        terminationMessagePolicy: "FallbackToLogsOnError",
        securityContext: { ...security, capabilities: { add: ["NET_ADMIN", "NET_RAW"], drop: ["ALL"] } },
        resources: { requests: { cpu: "100m", memory: "256Mi" }, limits: { memory: "256Mi" } },
        startupProbe: { exec, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 60 },
        readinessProbe: { exec, periodSeconds: 10, timeoutSeconds: 5 },
        volumeMounts: [{ ...certs, readOnly: true }],
      },
      { name: "cache", image: "cache:1", volumeMounts: [{ ...certs, readOnly: true }] },
    ],
    containers: [
      {
        name: "web",
        image: "web:1",
        command: ["web", "-v"],
        env: [{ name: "MODE", value: "fast" }],
        volumeMounts: [
          { name: "data", mountPath: "/data" },
          { ...certs, readOnly: true },
        ],
      },
    ],
    volumes: [
      { name: "data", emptyDir: {} },
      { name: "contrast-tls-certs", emptyDir: { medium: "Memory" } },
    ],
  });
});

test("takes the mesh proxy out when the annotations are gone", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  await write("app/web.yml", (await read("app/web.yml")).replaceAll(/.*servicemesh.*\n/g, ""));
  await run();
  const names = podSpecs(await read("app/web.yml")).web.initContainers.map(({ name }: { name: string }) => name);
  expect(names).toEqual(["contrast-initializer", "cache"]);
});

test("the Initializer lifts the guest's default deny where no mesh proxy guards the ports", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  const initializer = async () => podSpecs(await read("app/web.yml")).web.initContainers[0];
  await run();
  const guarded = await initializer();
  await write("app/web.yml", (await read("app/web.yml")).replace(/.*servicemesh-ingress.*\n/, ""));
  await run();
  expect(await initializer()).toEqual({
    ...guarded,
    env: [guarded.env[0], NO_ADMIN_PORT, { name: "CONTRAST_LIFT_DEFAULT_DENY", value: "1" }],
  });
  await run();
  expect((await initializer()).securityContext.capabilities.add).toHaveLength(2);
  await write("app/web.yml", WEB);
  await run();
  expect(await initializer()).toEqual(guarded);
});

test.for([
  ["web#8080#false", "9102"],
  ["", "9102"],
  ["web#8080#true", undefined],
] as const)(
  "the Initializer knows of the ingress %j and the admin port %s what the mesh proxy knows",
  async ([ingress, adminPort]) => {
    const more =
      adminPort === undefined ? "" : `$1contrast.edgeless.systems/servicemesh-admin-interface-port: "9102"\n`;
    const text = WEB.replace(/( *)(contrast\S*servicemesh-ingress:).*\n/, `$1$2 "${ingress}"\n${more}`);
    const { run, read } = await workspace({ "web.yml": text });
    for (const sidecar of ["native", "container"] as const) {
      await run({ sidecar });
      const { initContainers, containers } = podSpecs(await read("app/web.yml")).web;
      const [first] = initContainers;
      const proxy = [...initContainers, ...containers].find(({ name }) => name === "contrast-mesh-proxy");
      const told = (env: { name: string; value?: string }[]): object =>
        Object.fromEntries(
          env.filter(({ name }) => /INGRESS|ADMIN/.test(name)).map(({ name, value = "" }) => [name, value]),
        );
      expect(first.name).toBe("contrast-initializer");
      expect(told(first.env)).toEqual(told(proxy.env));
      expect(told(first.env)).toEqual({ CONTRAST_INGRESS_PROXY_CONFIG: ingress, CONTRAST_ADMIN_PORT: adminPort ?? "" });
    }
  },
);

test("the Initializer goes before all others, wherever it stood and whatever kind the mesh proxy is", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  // Somebody moves an init container of their own to the front.
  const cache = "      - name: early\n        image: early:1\n";
  await write("app/web.yml", (await read("app/web.yml")).replace(/(initContainers:\n)/, `$1${cache}`));
  for (const [sidecar, order] of [
    ["container", ["contrast-initializer", "early", "cache"]],
    ["native", ["contrast-initializer", "contrast-mesh-proxy", "early", "cache"]],
  ] as const) {
    await run({ sidecar });
    const { initContainers } = podSpecs(await read("app/web.yml")).web;
    expect(initContainers.map(({ name }: { name: string }) => name)).toEqual(order);
  }
});

/** Of the containers that `generate` puts in: names and texts of variables, capabilities. */
interface Injected {
  readonly env: Record<string, string>;
  readonly add: readonly string[] | undefined;
  readonly user: number;
}

function injected(text: string): { initializer: Injected; proxy: Injected | undefined } {
  const { web } = podSpecs(text);
  const [initializer, proxy] = ["contrast-initializer", "contrast-mesh-proxy"].map((wanted): Injected | undefined => {
    const container = [...web.initContainers, ...web.containers].find(({ name }) => name === wanted);
    return (
      container && {
        env: Object.fromEntries(
          container.env.map(({ name, value, valueFrom }: Record<string, unknown>) => [
            name,
            valueFrom === undefined ? (value ?? "") : JSON.stringify(valueFrom),
          ]),
        ),
        add: container.securityContext.capabilities.add,
        user: container.securityContext.runAsUser,
      }
    );
  });
  if (initializer === undefined) throw new Error("no Initializer");
  return { initializer, proxy };
}

test("the Initializer has nothing to close where a user binds the mesh proxy to addresses, and opens the guest", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  const environment = async (): Promise<string[]> => Object.keys(injected(await read("app/web.yml")).initializer.env);
  await run();
  const mode = "$&$1- name: CONTRAST_INGRESS_MODE\n$1  value: bind\n";
  const bound = (await read("app/web.yml")).replace(/( *)- name: CONTRAST_EGRESS_PROXY_CONFIG\n.*\n/, mode);
  await write("app/web.yml", bound);
  await run();
  const [host, ingress, port] = ["COORDINATOR_HOST", "CONTRAST_INGRESS_PROXY_CONFIG", "CONTRAST_ADMIN_PORT"];
  expect(await environment()).toEqual([host, ingress, port, "CONTRAST_INGRESS_MODE", "CONTRAST_LIFT_DEFAULT_DENY"]);
  await write("app/web.yml", (await read("app/web.yml")).replace(/.*servicemesh-ingress.*\n/, ""));
  await run();
  expect(await environment()).toEqual([host, port, "CONTRAST_LIFT_DEFAULT_DENY"]);
});

test("an annotation binds the mesh proxy to the pod's address, without any capability, and takes that back", async () => {
  const ports = "ports: [{containerPort: 8080}, {containerPort: 9090}, {containerPort: 53, protocol: UDP}]";
  const annotation = "  contrast.edgeless.systems/servicemesh-ingress-mode: bind\n      labels:";
  const text = WEB.replace("command: [web, -v]", `$&\n        ${ports}`);
  const { run, read, write } = await workspace({ "web.yml": text });
  await run();
  const transparent = await read("app/web.yml");
  await write("app/web.yml", transparent.replace("labels:", annotation));
  await run();
  const { initializer, proxy } = injected(await read("app/web.yml"));
  expect(proxy?.env).toEqual({
    CONTRAST_INGRESS_PROXY_CONFIG: "web#8080#false",
    CONTRAST_INGRESS_MODE: "bind",
    CONTRAST_INGRESS_BIND: '{"fieldRef":{"fieldPath":"status.podIP"}}',
    CONTRAST_INGRESS_TARGET: "127.0.0.1",
    CONTRAST_INGRESS_PORTS: "9090",
    CONTRAST_EGRESS_PROXY_CONFIG: "db#127.137.0.1:5432#db:5432",
    CONTRAST_ADMIN_PORT: "",
  });
  expect([proxy?.add, initializer.add]).toEqual([undefined, ["NET_ADMIN", "NET_RAW"]]);
  expect(initializer.env["CONTRAST_INGRESS_MODE"]).toBe("bind");
  expect((await run()).changedFiles).toEqual([]);
  const prefix = "\n        contrast.edgeless.systems";
  const keep = `$&${prefix}/keep-default-deny: "true"${prefix}/open-attestation-api: "true"`;
  await write("app/web.yml", (await read("app/web.yml")).replace(/.*ingress-mode: bind/, keep));
  await run();
  const kept = injected(await read("app/web.yml")).initializer;
  expect([kept.add, kept.env["CONTRAST_LIFT_DEFAULT_DENY"]]).toEqual([undefined, undefined]);
  await write(
    "app/web.yml",
    (await read("app/web.yml")).replaceAll(/.*(?:ingress-mode|keep-default|open-attestation).*\n/g, ""),
  );
  await run();
  expect(podSpecs(await read("app/web.yml"))).toEqual(podSpecs(transparent));
});

const NET = ["NET_ADMIN", "NET_RAW"];
test.for([
  ["an ingress", WEB, {}, NET, NET],
  ["an egress alone", WEB.replace(/.*servicemesh-ingress.*\n/, ""), {}, undefined, NET],
  ["no mesh", WEB.replaceAll(/.*servicemesh.*\n/g, ""), {}, null, NET],
  ["an ingress, without a guest", WEB, { referenceValues: ["simulated"] }, NET, NET],
  [
    "an egress alone, without a guest",
    WEB.replace(/.*servicemesh-ingress.*\n/, ""),
    { referenceValues: ["simulated"] },
    undefined,
    undefined,
  ],
] as const)("gives capabilities where they are needed: %s", async ([, text, options, ofProxy, ofInitializer]) => {
  const { run, read } = await workspace({ "web.yml": text });
  await run(options);
  const { initializer, proxy } = injected(await read("app/web.yml"));
  expect([proxy === undefined ? null : proxy.add, initializer.add]).toEqual([ofProxy, ofInitializer]);
  // Both the same, or one could not read what the other writes; root where something of root's is needed.
  const user = ofInitializer === undefined ? 65_532 : 0;
  expect(new Set([initializer.user, proxy?.user ?? user])).toEqual(new Set([user]));
});

test("gives every Initializer what it takes to close CoCo's attestation API, unless it is left open", async () => {
  const text = WEB.replace(/servicemesh-ingress.*/, 'keep-default-deny: "true"');
  const { run, read, write } = await workspace({ "web.yml": text });
  await run();
  expect(injected(await read("app/web.yml")).initializer.add).toEqual(NET);
  const open = (await read("app/web.yml")).replace(
    'keep-default-deny: "true"',
    '$&\n        contrast.edgeless.systems/open-attestation-api: "true"',
  );
  await write("app/web.yml", open);
  const { findings } = await run();
  expect(findings.filter(({ code }) => code === "attestation_api")).toHaveLength(1);
  const { initializer } = injected(await read("app/web.yml"));
  expect([initializer.add, initializer.env["CONTRAST_OPEN_ATTESTATION_API"]]).toEqual([undefined, "1"]);
});

test("takes a capability back that is not needed any more, and keeps one of the user's", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  const edited = (await read("app/web.yml"))
    .replace(/.*servicemesh-ingress.*\n/, "")
    .replaceAll(/( *)- NET_RAW\n/g, "$&$1- SYS_TIME\n");
  await write("app/web.yml", edited);
  await run();
  const { initializer, proxy } = injected(await read("app/web.yml"));
  expect([initializer.add, proxy?.add]).toEqual([[...NET, "SYS_TIME"], ["SYS_TIME"]]);
});

test("the Initializer finds a Coordinator in another namespace, and one in its own first", async () => {
  const inNamespace = (name: string): string => COORDINATOR.replace("name: coordinator\n", `$&  namespace: ${name}\n`);
  const { run, read, write } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const host = async (): Promise<unknown> => podSpecs(await read("app/web.yml")).web.initContainers[0].env[0];
  const called = (value: string): object => ({ name: "COORDINATOR_HOST", value });
  await run();
  expect(await host()).toEqual(called("coordinator"));
  await write("app/coordinator.yml", inNamespace("contrast"));
  await run();
  expect(await host()).toEqual(called("coordinator.contrast.svc"));
  expect((await run()).changedFiles).toEqual([]);
  // Where the Coordinator is not among the files, the name stays.
  await write("app/coordinator.yml", "");
  await run();
  expect(await host()).toEqual(called("coordinator.contrast.svc"));
  await run({ coordinatorNamespace: "shop" });
  expect(await host()).toEqual(called("coordinator"));
  await run({ coordinatorNamespace: "elsewhere" });
  expect(await host()).toEqual(called("coordinator.elsewhere.svc"));
  await write("app/coordinator.yml", `${inNamespace("contrast")}---\n${inNamespace("shop")}`);
  await run();
  expect(await host()).toEqual(called("coordinator"));
  await write("app/web.yml", (await read("app/web.yml")).replace("value: coordinator\n", "value: mine:7777\n"));
  await run({ coordinatorNamespace: "elsewhere" });
  expect(await host()).toEqual(called("mine:7777"));
});

test("the Initializer asks Coordinators that are ready, where the files have their Service", async () => {
  const inNamespace = (text: string): string =>
    text.replace(/  name: coordinator(-ready)?\n/, "$&  namespace: contrast\n");
  const service =
    "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: coordinator-ready\nspec: {selector: {a: b}}\n";
  const { run, read, write } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR + service });
  const host = async (): Promise<unknown> => podSpecs(await read("app/web.yml")).web.initContainers[0].env[0].value;
  await run();
  expect(await host()).toBe("coordinator-ready");
  await write("app/coordinator.yml", inNamespace(COORDINATOR) + inNamespace(service));
  await run();
  expect(await host()).toBe("coordinator-ready.contrast.svc");
  // Where its file is not among the given ones, nothing is known of its Services.
  await write("app/coordinator.yml", "");
  await run();
  expect(await host()).toBe("coordinator-ready.contrast.svc");
  await run({ coordinatorNamespace: "elsewhere" });
  expect(await host()).toBe("coordinator-ready.elsewhere.svc");
  // In another namespace it is another one's.
  await write("app/coordinator.yml", inNamespace(COORDINATOR) + service);
  await run();
  expect(await host()).toBe("coordinator.contrast.svc");
});

test("keeps what a user added to the Initializer and the mesh proxy", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  const edited = (await read("app/web.yml"))
    .replace(
      "value: coordinator\n",
      'value: coordinator.other:7777\n        - name: CONTRAST_KEY_MODE\n          value: "0444"\n',
    )
    .replaceAll("memory: 256Mi", "memory: 64Mi")
    .replace("periodSeconds: 1\n", "periodSeconds: 3\n")
    .replace(/( *)- NET_RAW\n/, "$1- NET_RAW\n$1- SETPCAP\n");
  expect(edited.length).toBeGreaterThan((await read("app/web.yml")).length + 60);
  await write("app/web.yml", edited);
  await run();
  const after = await read("app/web.yml");
  expect(after.replace(annotationOf(after), annotationOf(edited))).toBe(edited);
});

test("an empty ingress annotation is set in the mesh proxy, a missing one is not", async () => {
  const text = WEB.replace("servicemesh-ingress: web#8080#false", 'servicemesh-ingress: ""').replace(
    /.*egress:.*\n/,
    "",
  );
  const { run, read, write } = await workspace({ "web.yml": text });
  await run();
  const after = await read("app/web.yml");
  // Without a value, as an API server keeps it: with "" every `kubectl apply` would change the pod.
  expect(podSpecs(after).web.initContainers[1].env).toEqual([{ name: "CONTRAST_INGRESS_PROXY_CONFIG" }, NO_ADMIN_PORT]);
  expect((await run()).changedFiles).toEqual([]);
  await write("app/web.yml", after.replaceAll(/( *)- name: CONTRAST_INGRESS_PROXY_CONFIG\n/g, '$&$1  value: ""\n'));
  await run();
  expect(await read("app/web.yml")).toBe(after);
});

test("states every variable that a Service could set, and the policy takes no value for it", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  const ports = async (): Promise<unknown[]> =>
    podSpecs(await read("app/web.yml"))
      .web.initContainers.slice(0, 2)
      .map(({ env }: { env: { name: string }[] }) => env.filter(({ name }) => name === "CONTRAST_ADMIN_PORT"));
  expect(await ports()).toEqual([[NO_ADMIN_PORT], [NO_ADMIN_PORT]]);
  const port = `contrast.edgeless.systems/servicemesh-admin-interface-port: "9102"\n`;
  await write("app/web.yml", (await read("app/web.yml")).replace(/( *)contrast\S*servicemesh-ingress/, `$1${port}$&`));
  await run();
  const stated = { name: "CONTRAST_ADMIN_PORT", value: "9102" };
  expect(await ports()).toEqual([[stated], [stated]]);
  await write("app/web.yml", (await read("app/web.yml")).replace(/.*servicemesh-admin.*\n/, ""));
  await run();
  expect(await ports()).toEqual([[NO_ADMIN_PORT], [NO_ADMIN_PORT]]);
  const policy = regoOf(fromAnnotation(annotationOf(await read("app/web.yml"))));
  expect(policy.split('"CONTRAST_ADMIN_PORT": ""')).toHaveLength(3);
});

test("reads annotations from the workload too, and the pod template's go before them", async () => {
  const text = COORDINATOR.replace(
    "name: coordinator\nspec",
    `name: db
  annotations:
    contrast.edgeless.systems/servicemesh-admin-interface-port: "9102"
    contrast.edgeless.systems/workload-secret-id: outer
spec`,
  ).replace("pod-role: coordinator", "workload-secret-id: inner");
  const { run, read, manifest } = await workspace({ "db.yml": text });
  const { policies } = await run();
  expect(podSpecs(await read("app/db.yml")).db.initContainers[1]).toMatchObject({
    name: "contrast-mesh-proxy",
    env: [{ name: "CONTRAST_ADMIN_PORT", value: "9102" }],
  });
  expect((await manifest()).Policies[policies[0]?.hash ?? ""].WorkloadSecretID).toBe("inner");
});

test.for([
  ["the annotation", WEB.replace("labels:", '  contrast.edgeless.systems/skip-initializer: "true"\n      labels:'), {}],
  ["the option", WEB, { skipInitializer: true }],
] as const)("leaves the Initializer out where %s says so", async ([, text, options]) => {
  const { run, read } = await workspace({ "web.yml": text });
  await run(options);
  const names = podSpecs(await read("app/web.yml")).web.initContainers.map(({ name }: { name: string }) => name);
  expect(names).toEqual(["contrast-mesh-proxy", "cache"]);
});

test("leaves a pod's containers alone where both are skipped", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run({ skipInitializer: true, skipServiceMesh: true });
  const after = await read("app/web.yml");
  const expected = WEB.replace("contrast-cc\n", `${runtimeClassName("metal-qemu-snp")}\n`).replace(
    "      labels:",
    `        ${INITDATA_ANNOTATION}: ${annotationOf(after)}\n      labels:`,
  );
  expect(after).toBe(expected);
});

test("puts the mesh proxy first among the containers where it can't be a sidecar, and back", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run();
  const native = await read("app/web.yml");
  await run({ sidecar: "container" });
  const { initContainers, containers } = podSpecs(await read("app/web.yml")).web;
  const names = (list: readonly { name: string }[]): string[] => list.map(({ name }) => name);
  expect([names(initContainers), names(containers)]).toEqual([
    ["contrast-initializer", "cache"],
    ["contrast-mesh-proxy", "web"],
  ]);
  const { restartPolicy: _, ...proxy } = podSpecs(native).web.initContainers[1];
  const command = [...proxy.command, "healthcheck", "wait"];
  const sleep = ["/usr/local/bin/node", "-e", "setTimeout(() => {}, 5_000)"];
  const lifecycle = { postStart: { exec: { command } }, preStop: { exec: { command: sleep } } };
  expect(containers[0]).toEqual({ ...proxy, lifecycle });
  expect((await run({ sidecar: "container" })).changedFiles).toEqual([]);
  await run();
  expect(podSpecs(await read("app/web.yml"))).toEqual(podSpecs(native));
});

test("keeps a hook that a user gave the mesh proxy, whatever kind of sidecar it is", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  const edited = (await read("app/web.yml")).replace(
    /( *)restartPolicy: Always\n/,
    "$&$1lifecycle: {preStop: {sleep: {seconds: 5}}}\n",
  );
  await write("app/web.yml", edited);
  await run({ sidecar: "container" });
  const preStop = { sleep: { seconds: 5 } };
  expect(podSpecs(await read("app/web.yml")).web.containers[0].lifecycle).toEqual({ preStop });
  await run();
  expect(podSpecs(await read("app/web.yml")).web.initContainers[1].lifecycle).toEqual({ preStop });
});

test("takes Initializer and mesh proxy from a pod that becomes the Coordinator", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB });
  await run();
  const role = "contrast.edgeless.systems/pod-role: coordinator\n";
  await write(
    "app/web.yml",
    (await read("app/web.yml"))
      .replace("replicas: 2", "replicas: 1")
      .replace(/( *)contrast\S*servicemesh-ingress/, `$1${role}$&`),
  );
  await run();
  expect(podSpecs(await read("app/web.yml")).web.initContainers).toMatchObject([{ name: "cache" }]);
});

test("makes a volume of the pod's own for the certificates one in memory, and keeps its size", async () => {
  const volume = "      volumes:\n      - name: contrast-tls-certs\n        emptyDir:\n          sizeLimit: 1Mi\n";
  const { run, read } = await workspace({ "web.yml": WEB.replace("      volumes:\n", volume) });
  await run();
  expect(await read("app/web.yml")).toContain(`${volume}          medium: Memory\n      - name: data\n`);
});

test("gives the Coordinator a policy and nothing else", async () => {
  const { run, read } = await workspace({ "coordinator.yml": COORDINATOR });
  await run();
  const after = await read("app/coordinator.yml");
  expect(after).toBe(
    COORDINATOR.replace("contrast-cc\n", `${runtimeClassName("metal-qemu-snp")}\n`).replace(
      "pod-role: coordinator\n",
      `pod-role: coordinator\n        ${INITDATA_ANNOTATION}: ${annotationOf(after)}\n`,
    ),
  );
});

test("gives Initializers the Coordinator's collateral proxy, unless they have one", async () => {
  const image = /( *)image: \S*coordinator\S*\n/;
  const variable = (indent: string, url: string): string =>
    `${indent}env:\n${indent}- {name: CONTRAST_COLLATERAL_PROXY, value: "${url}"}\n`;
  const coordinator = COORDINATOR.replace(
    image,
    (line, indent: string) => line + variable(indent, "http://proxy:8080"),
  );
  expect(coordinator).not.toBe(COORDINATOR);
  const { run, read, write } = await workspace({ "web.yml": WEB, "coordinator.yml": coordinator });
  const proxies = async (): Promise<unknown> => {
    const { env } = podSpecs(await read("app/web.yml")).web.initContainers[0];
    return env.filter(({ name }: { name: string }) => name === "CONTRAST_COLLATERAL_PROXY");
  };
  await run();
  expect(await proxies()).toEqual([{ name: "CONTRAST_COLLATERAL_PROXY", value: "http://proxy:8080" }]);
  expect((await run()).changedFiles).toEqual([]);
  await write("app/web.yml", (await read("app/web.yml")).replace("http://proxy:8080", "http://nearer:8080"));
  await run();
  expect(await proxies()).toEqual([{ name: "CONTRAST_COLLATERAL_PROXY", value: "http://nearer:8080" }]);
});

test("writes the collateral proxy that it is given into Coordinator and Initializers, and a later one in its place", async () => {
  const { run, read, write } = await workspace({ "web.yml": WEB, "coordinator.yml": COORDINATOR });
  const proxies = async (): Promise<unknown> => {
    const [web, coordinator] = [podSpecs(await read("app/web.yml")), podSpecs(await read("app/coordinator.yml"))];
    const environments = [web.web.initContainers[0].env, coordinator.coordinator.containers[0].env];
    return environments.map((env: { name: string; value?: string }[]) =>
      env.flatMap(({ name, value }) => (name === "CONTRAST_COLLATERAL_PROXY" ? [value] : [])),
    );
  };
  await run({ collateralProxy: "http://proxy:8080" });
  expect(await proxies()).toEqual([["http://proxy:8080"], ["http://proxy:8080"]]);
  // Also where nothing is said the next time.
  expect((await run()).changedFiles).toEqual([]);
  const { policies } = await run({ collateralProxy: "https://other/base" });
  expect(await proxies()).toEqual([["https://other/base"], ["https://other/base"]]);
  expect((await run({ collateralProxy: "https://other/base" })).policies).toEqual(policies);
  await write("app/web.yml", (await read("app/web.yml")).replace("https://other/base", "http://nearer:8080"));
  await run({ collateralProxy: "http://third" });
  expect(await proxies()).toEqual([["http://nearer:8080"], ["http://third"]]);
});

test("finds pods in every kind of workload, and in lists", async () => {
  const pod = "spec: {runtimeClassName: contrast-cc, containers: [{name: a, image: a}]}";
  const job = `spec: {template: {${pod}}}`;
  const kinds = [
    ["v1", "Pod", pod],
    ["apps/v1", "Deployment", job],
    ["apps/v1", "StatefulSet", job],
    ["apps/v1", "DaemonSet", job],
    ["apps/v1", "ReplicaSet", job],
    ["v1", "ReplicationController", job],
    ["batch/v1", "Job", job],
    ["batch/v1", "CronJob", `spec: {jobTemplate: {${job}}}`],
  ];
  const items = kinds.map(
    ([apiVersion, kind, spec]) => `{apiVersion: ${apiVersion}, kind: ${kind}, metadata: {name: a}, ${spec}}`,
  );
  const { run, dir } = await workspace({
    "all.yaml": items.join("\n---\n"),
    "list.yaml": `apiVersion: v1\nkind: List\nitems:\n${items.map((item) => `- ${item.replace("name: a", "name: b")}\n`).join("")}`,
  });
  const { policies } = await run();
  expect(policies.map(({ kind }) => kind)).toEqual([...kinds, ...kinds].map(([, kind]) => kind));
  expect(await collectPolicies([join(dir, "app")])).toHaveLength(16);
  expect((await run()).changedFiles).toEqual([]);
});

test("leaves everything alone that does not ask for a confidential VM", async () => {
  const other = `${WEB.replace("contrast-cc", "kata").replace("name: web ", "name: other ")}---
apiVersion: example.com/v1
kind: Deployment
metadata: {name: stranger}
spec: {template: {spec: {runtimeClassName: contrast-cc}}}
--- null
---
- a list
---
text
`;
  const { run, read } = await workspace({ "web.yml": WEB, "other.yml": other, "notes.txt": "runtimeClassName: [" });
  const { policies, changedFiles } = await run();
  expect(policies).toHaveLength(1);
  expect(changedFiles).toHaveLength(2);
  expect(await read("app/other.yml")).toBe(other);
});

test("replaces images in the pods that it touches, its own too", async () => {
  const { run, read, write, dir } = await workspace({
    "web.yml": WEB,
    "other.yml": WEB.replace("contrast-cc", "kata").replace("name: web ", "name: other "),
  });
  await write("images", `# mirrors\n\nweb:1=mirror/web@${DIGEST}\ncontrast/initializer:0.1.0=mirror/initializer:1\n`);
  await run({ imageReplacementsPath: join(dir, "images") });
  const { web } = podSpecs(await read("app/web.yml"));
  expect(web.containers[0].image).toBe(`mirror/web@${DIGEST}`);
  expect(web.initContainers.map(({ image }: { image: string }) => image)).toEqual([
    "mirror/initializer:1",
    "contrast/mesh-proxy:0.1.0",
    "cache:1",
  ]);
  expect(podSpecs(await read("app/other.yml")).other.containers[0].image).toBe("web:1");
  expect((await run({ imageReplacementsPath: join(dir, "images") })).changedFiles).toEqual([]);
});

test("replaces an image whatever digest it was pinned to, and one with this very digest", async () => {
  const { run, read, write, dir } = await workspace({
    "web.yml": WEB.replace("web:1", `web:1@${DIGEST}`).replace("cache:1", `cache:1@${DIGEST}`),
  });
  await write("images", `web:1=mirror/web:1@${DIGEST}\ncache:1@${DIGEST}=mirror/cache@${DIGEST}\n`);
  await run({ imageReplacementsPath: join(dir, "images") });
  const { containers, initContainers } = podSpecs(await read("app/web.yml")).web;
  expect([containers[0].image, initContainers[2].image]).toEqual([`mirror/web:1@${DIGEST}`, `mirror/cache@${DIGEST}`]);
});

test("gives the key to a group, takes it back, and leaves a mode of the user's", async () => {
  const group = (id: string): string => `  contrast.edgeless.systems/key-group: "${id}"\n      labels:`;
  const { run, read, write } = await workspace({ "web.yml": WEB.replace("labels:", group("2000")) });
  const key = async (): Promise<unknown> => {
    const { env, securityContext } = podSpecs(await read("app/web.yml")).web.initContainers[0];
    const mode = env.find(({ name }: { name: string }) => name === "CONTRAST_KEY_MODE")?.value;
    return [securityContext.runAsGroup, mode];
  };
  await run();
  expect(await key()).toEqual([2000, "0440"]);
  expect((await run()).changedFiles).toEqual([]);
  await write("app/web.yml", (await read("app/web.yml")).replace(/(key-group:) "2000"/, '$1 ""'));
  await run();
  expect(await key()).toEqual([undefined, undefined]);
  const text = (await read("app/web.yml")).replace(/(key-group:) ""/, '$1 "0"');
  const mode = '- name: CONTRAST_KEY_MODE\n          value: "0444"\n        ';
  await write("app/web.yml", text.replace("- name: COORDINATOR_HOST", `${mode}$&`));
  await run();
  expect(await key()).toEqual([0, "0444"]);
});

test.each(["-1", "01", "2147483648", "root", " "])("refuses the key group %j", async (text) => {
  const annotation = `  contrast.edgeless.systems/key-group: "${text}"\n      labels:`;
  const { run } = await workspace({ "web.yml": WEB.replace("labels:", annotation) });
  await expect(run()).rejects.toMatchObject({ code: "invalid_annotation" });
});
