import { join } from "node:path";
import { expect, test } from "vitest";
import { INITDATA_ANNOTATION } from "../../manifest/initdata.ts";
import { collectPolicies } from "./policies.ts";
import { runtimeClassName } from "./platforms.ts";
import { WEB, COORDINATOR, workspace, podSpecs, annotationOf } from "./test-workspace.ts";

const DIGEST = `sha256:${"0".repeat(64)}`;

test("gives a pod its runtime class, the Initializer, the mesh proxy, the volume and the mounts", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run();
  const certs = { name: "contrast-tls-certs", mountPath: "/tls-config" };
  const security = { runAsUser: 0, runAsNonRoot: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true };
  const command = ["/usr/local/bin/node", "/opt/contrast/mesh-proxy/main.js"];
  const exec = { command: [...command, "healthcheck"] };
  expect(podSpecs(await read("app/web.yml")).web).toEqual({
    runtimeClassName: expect.stringMatching(/^contrast-cc-metal-qemu-snp-[0-9a-f]{8}$/) as string,
    initContainers: [
      {
        name: "contrast-initializer",
        image: "contrast/initializer:0.1.0",
        command: ["/usr/local/bin/node", "/opt/contrast/initializer/main.js"],
        env: [{ name: "COORDINATOR_HOST", value: "coordinator" }],
        securityContext: { ...security, capabilities: { drop: ["ALL"] } },
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
        ],
        securityContext: { ...security, capabilities: { add: ["NET_ADMIN"], drop: ["ALL"] } },
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
    env: [...guarded.env, { name: "CONTRAST_LIFT_DEFAULT_DENY", value: "1" }],
    securityContext: { ...guarded.securityContext, capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] } },
  });
  await run();
  expect((await initializer()).securityContext.capabilities.add).toHaveLength(2);
  await write("app/web.yml", WEB);
  await run();
  expect(await initializer()).toEqual(guarded);
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
    .replace(/( *)- NET_ADMIN\n/, "$1- NET_ADMIN\n$1- NET_RAW\n");
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
  const { run, read } = await workspace({ "web.yml": text });
  await run();
  expect(podSpecs(await read("app/web.yml")).web.initContainers[1].env).toEqual([
    { name: "CONTRAST_INGRESS_PROXY_CONFIG", value: "" },
  ]);
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
  expect(containers[0]).toEqual({ ...proxy, lifecycle: { postStart: { exec: { command } } } });
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
  await write("app/web.yml", (await read("app/web.yml")).replace(/( *)contrast\S*servicemesh-ingress/, `$1${role}$&`));
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
