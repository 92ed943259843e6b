import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run, waitFor } from "../../cluster/commands.ts";
import { describeOnCluster } from "./cluster.ts";
import { Shell } from "./deployment.ts";
import { workload } from "./resources.ts";

/**
 * The pod that `generate` makes for an encrypted volume, under a real API server, kubelet, containerd and runc: with its real
 * block device, its privileges and its mounts. Two of its programs have stand-ins, for there is neither a TEE nor dm-crypt here:
 * the Initializer does nothing, and the volume is an ext4 that is not encrypted.
 */

// oxlint-disable-next-line typescript/no-explicit-any -- of files that `generate` wrote
type Loose = any;

const MIB = 64;

const DATABASE = workload("db", {
  kind: "StatefulSet",
  annotations: { "secure-pv": "state:data" },
  script: `process.once("SIGTERM", () => process.exit(0)); setInterval(() => {}, 2 ** 30)`,
  spec: {
    serviceName: "db",
    replicas: 1,
    volumeClaimTemplates: [
      {
        apiVersion: "v1",
        kind: "PersistentVolumeClaim",
        metadata: { name: "state" },
        spec: {
          accessModes: ["ReadWriteOnce"],
          volumeMode: "Block",
          storageClassName: "",
          resources: { requests: { storage: `${MIB}Mi` } },
        },
      },
    ],
  },
  container: { volumeMounts: [{ name: "data", mountPath: "/data" }] },
});

/** Programs of this machine, which the image has not. */
const ON_HOST = `const { execFileSync } = require("node:child_process");
const { openSync, readSync, chmodSync } = require("node:fs");
const [loader, libraries] = process.arch === "x64" ? ["lib64/ld-linux-x86-64.so.2", "x86_64"] : ["lib/ld-linux-aarch64.so.1", "aarch64"];
const onHost = (command, ...args) =>
  execFileSync("/host/" + loader, ["--library-path", "/host/usr/lib/" + libraries + "-linux-gnu", "/host/usr/" + command, ...args]);`;

/** In the place of \`initializer volume\`: no encryption, and a format where there is no ext4. */
const STAND_IN = `${ON_HOST}
const { CONTRAST_VOLUME_NAME: name, CONTRAST_VOLUME_DEVICE: device, CONTRAST_VOLUME_MOUNT: target } = process.env;
const magic = Buffer.alloc(2);
readSync(openSync(device, "r"), magic, 0, 2, 1080);
if (magic.readUInt16LE() !== 0xef53) onHost("sbin/mkfs.ext4", "-q", "-F", device);
onHost("bin/mount", "-t", "ext4", device, target);
chmodSync(target, 0o777);
console.log("mounted " + name);
process.once("SIGTERM", () => { onHost("bin/umount", target); process.exit(0); });
setInterval(() => {}, 2 ** 30);`;

const MOUNTED = `process.exit(/ \\/volume .* - ext4 /.test(require("node:fs").readFileSync("/proc/self/mountinfo", "utf8")) ? 0 : 1)`;

function withStandIns(text: string): { readonly resources: Loose[]; readonly runtimeClass: string } {
  const { items }: Loose = JSON.parse(text);
  const { spec } = items[0].spec.template;
  const [initializer, opener] = spec.initContainers;
  initializer.command = ["node", "-e", ""];
  opener.command = ["node", "-e", STAND_IN];
  opener.startupProbe.exec.command = ["node", "-e", MOUNTED];
  opener.volumeMounts.push({ name: "host", mountPath: "/host", readOnly: true });
  spec.volumes.push({ name: "host", hostPath: { path: "/" } });
  return { resources: items, runtimeClass: spec.runtimeClassName };
}

describeOnCluster("encrypted volumes", () => {
  let shell: Shell;
  let device: string;
  let generated: string;

  beforeAll(async () => {
    shell = await Shell.open("volumes");
    await mkdir(join(shell.folder, "deployment"));
    await shell.write(
      "deployment/resources.json",
      JSON.stringify({ apiVersion: "v1", kind: "List", items: [DATABASE] }),
    );
    await shell.run(
      `contrast generate --reference-values metal-qemu-snp --image-replacements "$RELEASE/image-replacements.txt" deployment/`,
    );
    generated = await shell.read("deployment/resources.json");
    await shell.run(`truncate --size=${MIB}M disk`);
    device = (await run("losetup", ["--find", "--show", join(shell.folder, "disk")])).trim();
    const { resources, runtimeClass } = withStandIns(generated);
    const node = (await shell.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")).trim();
    const hostname = { key: "kubernetes.io/hostname", operator: "In", values: [node] };
    const volume = {
      apiVersion: "v1",
      kind: "PersistentVolume",
      metadata: { name: "encrypted" },
      spec: {
        capacity: { storage: `${MIB}Mi` },
        volumeMode: "Block",
        accessModes: ["ReadWriteOnce"],
        storageClassName: "",
        persistentVolumeReclaimPolicy: "Retain",
        claimRef: { namespace: shell.namespace, name: "state-db-0" },
        local: { path: device },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [hostname] }] } },
      },
    };
    const runtime = {
      apiVersion: "node.k8s.io/v1",
      kind: "RuntimeClass",
      metadata: { name: runtimeClass },
      handler: "runc",
    };
    await shell.apply(runtime, volume, ...resources);
  });

  afterAll(async () => {
    await shell.kubectl("delete", "statefulset/db", "--cascade=foreground", "--wait", "--timeout=120s");
    await shell.kubectl("delete", "pvc/state-db-0", "pv/encrypted", "--wait=false");
    await shell.kubectl("delete", "runtimeclass", withStandIns(generated).runtimeClass);
    await waitFor("the kubelet has let the disk go", 60, async () => run("losetup", ["--detach", device]));
    await shell.close();
  });

  const onPod = async (script: string): Promise<string> =>
    (await shell.kubectl("exec", "db-0", "-c", "db", "--", "node", "-p", script)).trim();
  const isReady = async (): Promise<string> => shell.kubectl("rollout", "status", "statefulset/db", "--timeout=120s");

  test("the API server takes the resource as `generate` wrote it", async () => {
    await shell.write("dry.json", generated.replaceAll('"db"', '"dry"'));
    await shell.run("kubectl apply --dry-run=server -f dry.json");
  });

  test("the API server takes neither less than privileged, nor a ban on new privileges beside it", async () => {
    const changed = async (change: (security: Loose) => void): Promise<string> => {
      const list: Loose = JSON.parse(generated.replaceAll('"db"', '"dry"'));
      change(list.items[0].spec.template.spec.initContainers[1].securityContext);
      await shell.write("dry.json", JSON.stringify(list));
      return shell.fail("kubectl apply --dry-run=server -f dry.json");
    };
    const capable = { add: ["SYS_ADMIN", "MKNOD"], drop: ["ALL"] };
    expect(
      await changed((security) => Object.assign(security, { privileged: false, capabilities: capable })),
    ).toContain("Bidirectional mount propagation is available only to privileged containers");
    expect(await changed((security) => Object.assign(security, { allowPrivilegeEscalation: false }))).toContain(
      "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    );
  });

  test("the application starts with the volume mounted, and has no part in the disk", async () => {
    await isReady();
    expect(await shell.run("kubectl logs db-0 -c contrast-volume-state")).toContain("mounted state-db-0");
    const mounts = await onPod('fs.readFileSync("/proc/self/mountinfo", "utf8")');
    expect(mounts).toMatch(new RegExp(` /data .* - ext4 /dev/contrast-volume `));
    expect(await onPod('fs.existsSync("/dev/contrast-volume")')).toBe("false");
    expect(await onPod("process.getuid()")).toBe("65532");
    expect(await onPod('fs.writeFileSync("/data/kept", "yes") ?? fs.readFileSync("/data/kept", "utf8")')).toBe("yes");
  });

  test("an application that is started anew sees it again", async () => {
    await shell.kubectl("exec", "db-0", "-c", "db", "--", "node", "-e", "process.kill(1, 'SIGTERM')");
    await expect
      .poll(async () => onPod('fs.readFileSync("/data/kept", "utf8")').catch(String), { timeout: 60_000 })
      .toBe("yes");
    expect(await onPod('fs.readFileSync("/proc/self/mountinfo", "utf8")')).toMatch(/ \/data .* - ext4 /);
  });

  test("the next pod has what the one before wrote", async () => {
    await shell.run("kubectl delete pod db-0");
    await isReady();
    expect(await onPod('fs.readFileSync("/data/kept", "utf8")')).toBe("yes");
  });
});
