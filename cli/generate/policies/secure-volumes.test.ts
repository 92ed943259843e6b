import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collectWorkloads } from "../../../kubernetes/collect-workloads.ts";
import { parseResourceFile } from "../../../kubernetes/resource-file.ts";
import { NO_ENGINE, startEngine } from "../../../policy/test-engine.ts";
import { RUNTIMES } from "../../../policy/test-kubelet.ts";
import { lifeOf, play, type Step } from "../../../policy/test-life.ts";
import { type Engine, isAllowed } from "../../../policy/test-opa.ts";
import { clusterFor, IMAGES, pinned, type TestPod } from "../../../policy/test-pods.ts";
import { podRequests } from "../../../policy/test-requests.ts";
import { policyOf } from "../../../policy/policy.ts";
import { preparePods } from "../edit-pods.ts";

/** Pods with encrypted volumes under their policies: the disk and the mount are one container's, and nobody else's. */

// oxlint-disable-next-line typescript/no-explicit-any -- what a test changes, it knows
type Loose = any;

const POD = `apiVersion: apps/v1
kind: StatefulSet
metadata: { name: vault, namespace: shop }
spec:
  template:
    metadata:
      annotations:
        contrast.edgeless.systems/secure-pv: "state:share,logs:old"
    spec:
      runtimeClassName: contrast-cc
      containers:
        - name: vault
          image: vault
          command: [vault]
          volumeMounts: [{ name: share, mountPath: /data }, { name: old, mountPath: /log }, { name: plain, mountPath: /plain }]
        - { name: other, image: vault, command: [other] }
      volumes: [{ name: plain, emptyDir: { medium: Memory } }]
  volumeClaimTemplates:
    - { metadata: { name: state }, spec: { accessModes: [ReadWriteOnce], volumeMode: Block } }
    - { metadata: { name: logs }, spec: { accessModes: [ReadWriteOnce], volumeMode: Block } }
`;

const VOLUME = "contrast-volume-state";
const MEMORY = "/run/kata-containers/sandbox/ephemeral";

function prepared(): TestPod {
  const files = [parseResourceFile("vault.yml", POD)];
  const [pod] = preparePods(collectWorkloads(files), {
    platforms: ["metal-qemu-snp"],
    skipInitializer: false,
    skipServiceMesh: false,
    sidecar: "native",
    services: [],
    imageReplacements: new Map(),
  });
  if (pod === undefined) throw new Error("no pod");
  for (const container of [...(pod.spec.initContainers ?? []), ...pod.spec.containers]) {
    container.image = pinned(container.image === "vault" ? "nginx:1.25" : container.image);
  }
  return { subject: pod.workload, spec: pod.spec };
}

if (NO_ENGINE !== undefined) test.skip(`policies know encrypted volumes: ${NO_ENGINE}`);
else
  describe.each(RUNTIMES)("with %s", (runtime) => {
    const { subject, spec } = prepared();
    let engine: Engine;

    beforeAll(async () => {
      engine = await startEngine({ vault: policyOf(subject, spec, imagesOf(spec)) });
    });
    afterAll(() => engine.stop());

    const life = (): Step[] => structuredClone(lifeOf(podRequests(spec, imagesOf(spec), clusterFor(subject, runtime))));

    /** Which requests of the pod's life are refused, if one is changed. */
    async function refused(what = "", change: (request: Loose) => void = () => {}): Promise<string[]> {
      const steps = life();
      const step = steps.find((candidate) => candidate.what === what);
      if (what !== "" && step === undefined) throw new Error(`no ${what}`);
      change(step?.request);
      const { vault: asked = [] } = await play(engine, { vault: steps });
      return asked.filter(({ answer }) => !isAllowed(answer)).map((refusal) => refusal.what);
    }

    test("the pod runs, from its first request to the restart of its containers, probes included", async () => {
      expect(await refused()).toEqual([]);
      expect(life().filter(({ what }) => what === `exec in ${VOLUME}`)).toHaveLength(2);
    });

    const node = (path: string) => ({ Path: path, Type: "b", Major: 8, Minor: 32, FileMode: 0o660, UID: 0, GID: 6 });
    const disk = (container_path: string) => ({ id: "02/05", type_: "blk", vm_path: "", container_path, options: [] });
    const give = (path: string) => (request: Loose) => {
      request.devices.push(disk(path));
      request.OCI.Linux.Devices.push(node(path));
    };
    const renamed = (path: string) => (request: Loose) => {
      request.devices[0].container_path = path;
      request.OCI.Linux.Devices[0].Path = path;
    };

    test.each(["contrast-initializer", "vault", "other"])("the disk is not given to %s", async (container) => {
      for (const path of ["/dev/contrast-volume", "/dev/sdb", "/dev/mapper/contrast-volume-state-vault-0"]) {
        expect(await refused(`create ${container}`, give(path)), path).toContain(`create ${container}`);
      }
    });

    test.each<[string, (request: Loose) => void]>([
      ["a second disk", give("/dev/second")],
      ["a second disk at the same path", give("/dev/contrast-volume")],
      ["no disk", (request) => Object.assign(request, { devices: [] })],
      [
        "neither disk nor node",
        (request) => {
          request.devices = [];
          request.OCI.Linux.Devices = [];
        },
      ],
      ["the disk at another path", renamed("/dev/sda")],
      ["the disk where mappings are", renamed("/dev/mapper/control")],
      ["the disk over memory", renamed("/dev/mem")],
      ["a node of memory", (request) => (request.OCI.Linux.Devices[0].Type = "c")],
      ["a mapping of the VM's as its disk", (request) => (request.devices[0].id = "/dev/dm-0")],
      ["a mapping by its name", (request) => (request.devices[0].id = "/dev/mapper/contrast-volume-logs-vault-0")],
      ["a mapping as the disk's path", (request) => (request.devices[0].vm_path = "/dev/mapper/contrast-volume-x")],
      ["a file in place of a disk", (request) => (request.devices[0].vm_path = `${MEMORY}/plain/disk`)],
      ["a device of another kind", (request) => (request.devices[0].type_ = "vfio-pci")],
      ["every right to devices", (request) => (request.OCI.Linux.Resources.Devices = [{ Allow: true, Access: "rwm" }])],
      ["a propagation that shares nothing", (request) => (mountAt(request, "/volume").options[1] = "rprivate")],
      ["a propagation of one way", (request) => (mountAt(request, "/volume").options[1] = "rslave")],
      ["a propagation without what is below", (request) => (mountAt(request, "/volume").options[1] = "shared")],
      ["a root that shares nothing", (request) => (request.OCI.Linux.RootfsPropagation = "")],
      ["a root of one way", (request) => (request.OCI.Linux.RootfsPropagation = "rslave")],
      ["the certificates shared, too", (request) => (mountAt(request, "/tls-config").options[1] = "rshared")],
      ["another volume to mount at", (request) => (mountAt(request, "/volume").source = `${MEMORY}/plain`)],
      ["the other encrypted volume", (request) => (mountAt(request, "/volume").source = `${MEMORY}/old`)],
      ["the VM's root to mount at", (request) => (mountAt(request, "/volume").source = "/")],
      ["the name of the other disk", (request) => variable(request, "CONTRAST_VOLUME_NAME", "logs-vault-0")],
      ["the name of another pod's disk", (request) => variable(request, "CONTRAST_VOLUME_NAME", "state-vault-1")],
      [
        "the name of another pod",
        (request) => {
          variable(request, "POD_NAME", "vault-1");
          variable(request, "CONTRAST_VOLUME_NAME", "state-vault-1");
        },
      ],
      ["another place to mount at", (request) => variable(request, "CONTRAST_VOLUME_MOUNT", "/tls-config")],
      ["another program", (request) => (request.OCI.Process.Args[2] = "healthcheck")],
    ])("the container that opens it does not get %s", async (_, change) => {
      expect(await refused(`create ${VOLUME}`, change)).toContain(`create ${VOLUME}`);
    });

    test.each<[string, (request: Loose) => void]>([
      ["a mount that it could share", (request) => (mountAt(request, "/data").options[1] = "rshared")],
      ["a mount that it never sees", (request) => (mountAt(request, "/data").options[1] = "rprivate")],
      ["a root that it shares", (request) => (request.OCI.Linux.RootfsPropagation = "rshared")],
      ["the host's files in place of the volume", (request) => (mountAt(request, "/data").source = copy(request))],
      ["the disk itself, mounted by the agent", withDisk],
      ["another volume of the VM", (request) => (mountAt(request, "/data").source = `${MEMORY}/plain`)],
      ["nothing", (request) => (request.OCI.Mounts = request.OCI.Mounts.filter(isNot("/data")))],
      ["all rights", (request) => (request.OCI.Process.Capabilities.Effective = ["CAP_SYS_ADMIN"])],
    ])("the application does not get %s", async (_, change) => {
      expect(await refused("create vault", change)).toContain("create vault");
    });

    test("in place of the memory to mount at there is no disk of the host's", async () => {
      const change = (request: Loose): void => {
        const storage = request.storages.find((it: Loose) => it.mount_point === `${MEMORY}/share`);
        Object.assign(storage, { driver: "blk", source: "02/07", fstype: "ext4" });
      };
      expect(await refused(`create ${VOLUME}`, change)).toContain(`create ${VOLUME}`);
      expect(await refused("create vault", change)).toContain("create vault");
    });

    // It may be created before, with its mounts: by their propagation it sees what is mounted there later.
    test("the application is not started before the containers that open its volumes", async () => {
      for (const name of [VOLUME, "contrast-volume-logs"]) {
        const steps = life().filter(({ what }) => !what.endsWith(` ${name}`));
        const { vault: asked = [] } = await play(engine, { vault: steps });
        const all = asked.filter(({ answer }) => !isAllowed(answer)).map(({ what }) => what);
        expect(all, name).toEqual(expect.arrayContaining(["start vault", "start other"]));
      }
    });

    test("nothing but its probe runs beside what opens it", async () => {
      const exec = (change: object) => (request: Loose) => Object.assign(request.process, change);
      for (const change of [{ Args: ["/bin/sh"] }, { Args: ["dmsetup", "table", "--showkeys"] }, { Terminal: true }]) {
        expect(await refused(`exec in ${VOLUME}`, exec(change))).toContain(`exec in ${VOLUME}`);
      }
    });
  });

function imagesOf({ initContainers, containers }: TestPod["spec"]) {
  const config = { entrypoint: [], cmd: [], env: [], workingDir: "/", user: "65532:65532", volumes: [] };
  const names = [...(initContainers ?? []), ...containers].map(({ image }) => image);
  return new Map([...names.map((name) => [name, { digest: "", config }] as const), ...IMAGES]);
}

function mountAt(request: Loose, destination: string): Loose {
  const found = request.OCI.Mounts.find((mount: Loose) => mount.destination === destination);
  if (found === undefined) throw new Error(`nothing is mounted at ${destination}`);
  return found;
}

const isNot = (destination: string) => (mount: Loose) => mount.destination !== destination;

function variable(request: Loose, name: string, value: string): void {
  const { Process } = request.OCI;
  const index = Process.Env.findIndex((text: string) => text.startsWith(`${name}=`));
  if (index < 0) throw new Error(`no variable ${name}`);
  Process.Env[index] = `${name}=${value}`;
}

const copy = (request: Loose): string =>
  `/run/kata-containers/shared/containers/${request.container_id}-0123456789abcdef-data`;

function withDisk(request: Loose): void {
  const source = "02/07";
  const mount_point = `/run/kata-containers/sandbox/storage/${Buffer.from(source).toString("base64")}`;
  const options = ["rbind", "rslave", "rw"];
  request.storages.push({
    driver: "blk",
    driver_options: [],
    source,
    fstype: "ext4",
    options,
    mount_point,
    fs_group: null,
  });
  mountAt(request, "/data").source = mount_point;
}
