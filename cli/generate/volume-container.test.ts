import { join } from "node:path";
import { expect, test } from "vitest";
import { annotationOf, COORDINATOR, podSpecs, workspace } from "./test-workspace.ts";
import { KNOWN } from "../../runtime/environment.ts";
import { regoOf } from "../../manifest/initdata.ts";
import { fromAnnotation } from "../../manifest/initdata-annotation.ts";

/** As users of Edgeless Systems' Contrast write a StatefulSet with an encrypted volume. */
const VAULT = `apiVersion: apps/v1
kind: StatefulSet
metadata: { name: vault, namespace: shop }
spec:
  serviceName: vault
  template:
    metadata:
      annotations:
        contrast.edgeless.systems/secure-pv: state:share
    spec:
      runtimeClassName: contrast-cc
      initContainers:
        - name: migrate
          image: vault:1
          command: [migrate]
          volumeMounts: [{ name: share, mountPath: /old }]
      containers:
        - name: vault
          image: vault:1
          command: [vault]
          volumeMounts:
            - { name: share, mountPath: /data, mountPropagation: HostToContainer }
      volumes:
        - { name: share, emptyDir: {} }
  volumeClaimTemplates:
    - metadata: { name: state }
      spec:
        accessModes: [ReadWriteOnce]
        volumeMode: Block
        resources: { requests: { storage: 1Gi } }
`;

const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata: { name: db, namespace: shop }
spec:
  strategy: { type: Recreate }
  template:
    metadata:
      annotations:
        contrast.edgeless.systems/secure-pv: "disk:data"
    spec:
      runtimeClassName: contrast-cc
      containers:
        - { name: db, image: "db:1", command: [db], volumeMounts: [{ name: data, mountPath: /data }] }
      volumes:
        - { name: disk, persistentVolumeClaim: { claimName: db-disk } }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: db-disk, namespace: shop }
spec: { accessModes: [ReadWriteOncePod], volumeMode: Block, resources: { requests: { storage: 1Gi } } }
`;

const COMMAND = ["/usr/local/bin/node", "/opt/contrast/initializer/main.js"];

const prepared = async (text: string, options: object = {}) => {
  const made = await workspace({ "app.yml": text, "coordinator.yml": COORDINATOR });
  const result = await made.run(options);
  return { ...made, result, specs: podSpecs(await made.read("app/app.yml")) };
};

test("opens the volume in a sidecar behind the Initializer, and shows it to the pod's other containers", async () => {
  const { specs } = await prepared(VAULT);
  const { initContainers, containers, volumes } = specs.vault;
  const names = initContainers.map(({ name }: { name: string }) => name);
  expect(names).toEqual(["contrast-initializer", "contrast-volume-state", "migrate"]);
  const [, { env, ...opener }, migrate] = initContainers;
  expect(opener).toEqual({
    name: "contrast-volume-state",
    image: "contrast/initializer:0.1.0",
    command: [...COMMAND, "volume"],
    restartPolicy: "Always",
    terminationMessagePolicy: "FallbackToLogsOnError",
    securityContext: { privileged: true, readOnlyRootFilesystem: true, runAsUser: 0, runAsNonRoot: false },
    startupProbe: {
      exec: { command: [...COMMAND, "volume-healthcheck"] },
      periodSeconds: 1,
      timeoutSeconds: 5,
      failureThreshold: 86_400,
    },
    resources: { requests: { cpu: "10m", memory: "256Mi" }, limits: { memory: "256Mi" } },
    volumeDevices: [{ name: "state", devicePath: "/dev/contrast-volume" }],
    volumeMounts: [
      { name: "share", mountPath: "/volume", mountPropagation: "Bidirectional" },
      { name: "contrast-tls-certs", mountPath: "/tls-config", readOnly: true },
    ],
  });
  expect(env.slice(0, 5)).toEqual([
    { name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "CONTRAST_VOLUME_NAME", value: "state-$(POD_NAME)" },
    { name: "CONTRAST_VOLUME_DEVICE", value: "/dev/contrast-volume" },
    { name: "CONTRAST_VOLUME_MOUNT", value: "/volume" },
    expect.objectContaining({ name: "COORDINATOR_HOST" }) as unknown,
  ]);
  expect(migrate.volumeMounts[0]).toEqual({ name: "share", mountPath: "/old", mountPropagation: "HostToContainer" });
  expect(containers[0].volumeMounts[0].mountPropagation).toBe("HostToContainer");
  expect(volumes).toContainEqual({ name: "share", emptyDir: { medium: "Memory" } });
});

test("states only variables that the program knows, and the name of the pod", async () => {
  const { specs } = await prepared(VAULT, { collateralProxy: "http://proxy.example" });
  const names: string[] = specs.vault.initContainers[1].env.map(({ name }: { name: string }) => name);
  const known = new Set<string>([...KNOWN, "COORDINATOR_HOST", "POD_NAME"]);
  expect(names.filter((name) => !known.has(name))).toEqual([]);
  expect(names).toEqual(expect.arrayContaining(["CONTRAST_VOLUME_NAME", "CONTRAST_COLLATERAL_PROXY"]));
});

test("makes the volume where the pod has none, and names it as the annotation does where the claim is the pod's", async () => {
  const { specs, result } = await prepared(DEPLOYMENT);
  const { initContainers, containers, volumes } = specs.db;
  expect(volumes).toContainEqual({ name: "data", emptyDir: { medium: "Memory" } });
  expect(containers[0].volumeMounts[0].mountPropagation).toBe("HostToContainer");
  expect(initContainers[1].env).toContainEqual({ name: "CONTRAST_VOLUME_NAME", value: "disk" });
  expect(initContainers[1].env).not.toContainEqual(expect.objectContaining({ name: "POD_NAME" }));
  expect(result.findings.filter(({ code }) => ["secure_pv", "volume", "host_access"].includes(code))).toEqual([]);
  expect(result.volumes).toContain("Deployment/db: data on the disk disk, encrypted");
});

test("comes before the mesh proxy of either pod, in the order of the annotation", async () => {
  const text = DEPLOYMENT.replace("disk:data", "disk:data, more:logs")
    .replace("contrast.edgeless", 'contrast.edgeless.systems/servicemesh-ingress: ""\n        contrast.edgeless')
    .replace(
      "      volumes:\n",
      "      volumes:\n        - { name: more, persistentVolumeClaim: { claimName: more } }\n",
    );
  const { specs } = await prepared(text);
  const names = specs.db.initContainers.map(({ name }: { name: string }) => name);
  expect(names).toEqual([
    "contrast-initializer",
    "contrast-volume-disk",
    "contrast-volume-more",
    "contrast-mesh-proxy",
  ]);
});

test.for([VAULT, DEPLOYMENT])("a second run changes nothing", async (text) => {
  const { run, read } = await prepared(text);
  const before = await read("app/app.yml");
  const { changedFiles } = await run();
  expect(changedFiles).toEqual([]);
  expect(await read("app/app.yml")).toBe(before);
});

test("keeps what a user has changed of it, and not what makes it work", async () => {
  const { run, read, write } = await prepared(DEPLOYMENT);
  const text = (await read("app/app.yml"))
    .replaceAll("256Mi", "1Gi")
    .replace("mountPropagation: Bidirectional", "mountPropagation: None")
    .replace("privileged: true", "privileged: false");
  await write("app/app.yml", text);
  await run();
  const [, opener] = podSpecs(await read("app/app.yml")).db.initContainers;
  expect(opener.resources.limits.memory).toBe("1Gi");
  expect(opener.volumeMounts[0].mountPropagation).toBe("Bidirectional");
  expect(opener.securityContext.privileged).toBe(true);
});

test("takes the container away with the annotation, and says that what was on the disk is in memory now", async () => {
  const { run, read, write } = await prepared(DEPLOYMENT);
  await write("app/app.yml", (await read("app/app.yml")).replace(/.*secure-pv.*\n/, ""));
  const { findings } = await run();
  const { initContainers } = podSpecs(await read("app/app.yml")).db;
  expect(initContainers.map(({ name }: { name: string }) => name)).toEqual(["contrast-initializer"]);
  const said = findings.filter(({ code }) => code === "secure_pv");
  expect(said.map(({ got }) => got)).toEqual([
    "no secure-pv any more: data is in the VM's memory, and lost when the pod ends",
  ]);
  expect((await run()).findings.filter(({ code }) => code === "secure_pv")).toEqual([]);
});

test("an empty annotation is none", async () => {
  const { specs } = await prepared(DEPLOYMENT.replace("disk:data", ""), { strict: false });
  expect(specs.db.initContainers.map(({ name }: { name: string }) => name)).toEqual(["contrast-initializer"]);
});

test("asks no registry for its image, which has another name here", async () => {
  const { dir, run, read, write } = await workspace({ "app.yml": VAULT, "coordinator.yml": COORDINATOR });
  const image = `registry.example.com/initializer@sha256:${"1".repeat(64)}`;
  await write("replacements.txt", `contrast/initializer:0.1.0=${image}\n`);
  const { findings } = await run({ imageReplacementsPath: join(dir, "replacements.txt") });
  const { initContainers } = podSpecs(await read("app/app.yml")).vault;
  expect(initContainers.slice(0, 2).map((container: { image: string }) => container.image)).toEqual([image, image]);
  expect(findings.filter(({ got, hint }) => `${got}${hint}`.includes("registry.example.com"))).toEqual([]);
});

test("a container of somebody else's with such a name stays", async () => {
  const own =
    "      initContainers:\n        - { name: contrast-volume-x, image: 'x:1', command: [x] }\n      containers:";
  const { specs } = await prepared(DEPLOYMENT.replace("      containers:", own));
  expect(specs.db.initContainers.map(({ name }: { name: string }) => name)).toEqual([
    "contrast-initializer",
    "contrast-volume-disk",
    "contrast-volume-x",
  ]);
});

test("the policy has the device and the propagation in the one container", async () => {
  const { read } = await prepared(VAULT);
  const rego = regoOf(fromAnnotation(annotationOf(await read("app/app.yml"))));
  const data = JSON.parse(rego.slice(rego.indexOf("policy_data := ") + "policy_data := ".length)) as {
    containers: { name: string; devices: string[]; mount_propagation: string; privileged: boolean }[];
  };
  const seen = data.containers.map(({ name, devices, mount_propagation, privileged }) => {
    return [name, devices, mount_propagation, privileged];
  });
  expect(seen).toEqual([
    ["", [], "", false],
    ["contrast-initializer", [], "", false],
    ["contrast-volume-state", ["/dev/contrast-volume"], "rshared", true],
    ["migrate", [], "rslave", false],
    ["vault", [], "rslave", false],
  ]);
});
