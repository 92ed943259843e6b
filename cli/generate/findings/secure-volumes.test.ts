import { expect, test } from "vitest";
import { ResourceError } from "../../../kubernetes/error.ts";
import { LEAST_DISK, SECTOR } from "../../../initializer/volume/layout.ts";
import { LEAST_BYTES } from "./secure-volumes.ts";
import { findingsOf, reviewed, WEB } from "./test-review.ts";

const PV = "secure-pv";
const only = (code: string): boolean => code === "secure_pv";

/** A database with an encrypted volume, that there is nothing to be said about. */
const DB = {
  name: "db",
  annotations: { [PV]: "disk:data" },
  workload: { strategy: { type: "Recreate" } },
  spec: { volumes: [{ name: "disk", persistentVolumeClaim: { claimName: "db-disk" } }] },
  containers: [{ ...WEB, volumeMounts: [{ name: "data", mountPath: "/data" }] }],
  files: { "claim.yml": claim("db-disk", { volumeMode: "Block", accessModes: ["ReadWriteOnce"] }) },
};
const TEMPLATE = { metadata: { name: "disk" }, spec: { volumeMode: "Block", accessModes: ["ReadWriteOncePod"] } };
const SMALLEST = { ...TEMPLATE, spec: { ...TEMPLATE.spec, resources: { requests: { storage: "32Mi" } } } };
const SET = { ...DB, kind: "StatefulSet", spec: {}, workload: { volumeClaimTemplates: [TEMPLATE] }, files: {} };

function claim(name: string, spec: object): string {
  return JSON.stringify({ apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name }, spec });
}

const mount = (more: object) => [{ ...WEB, volumeMounts: [{ name: "data", mountPath: "/data", ...more }] }];
const volumes = (...list: object[]) => ({ spec: { volumes: [...DB.spec.volumes, ...list] } });
const replaced = (volume: object) => ({ spec: { volumes: [{ name: "disk", ...volume }] } });

test.each<[string, object]>([
  ["a Deployment", DB],
  ["a StatefulSet with a claim template", SET],
  ["the smallest disk", { ...SET, workload: { volumeClaimTemplates: [SMALLEST] } }],
  ["several pods of it", { ...SET, workload: { ...SET.workload, replicas: 3 } }],
  ["a volume that it states", { ...DB, ...volumes({ name: "data", emptyDir: {} }) }],
  ["the propagation", { ...DB, containers: mount({ mountPropagation: "HostToContainer" }) }],
  ["a mount that only reads", { ...DB, containers: mount({ readOnly: true }) }],
  ["a Job", { ...DB, kind: "Job", workload: {} }],
  ["a secret of another name", { ...DB, annotations: { [PV]: "disk:data", "workload-secret-id": "x" } }],
])("says nothing of %s", async (_, pod) => {
  expect(await reviewed(pod, {}, only)).toEqual([]);
});

test.each<[string, object, string]>([
  [
    "no such volume",
    { ...DB, spec: {} },
    'error at "contrast.edgeless.systems/secure-pv: disk:data": no volume disk, want the name of a volume of the pod that is a claim, or of a claim template',
  ],
  [
    "a volume of another kind",
    { ...DB, ...replaced({ iscsi: { targetPortal: "x", iqn: "y", lun: 0 } }) },
    'error at "- name: disk": disk as iscsi, want persistentVolumeClaim',
  ],
  [
    "a disk that goes with its pod",
    { ...DB, ...replaced({ ephemeral: { volumeClaimTemplate: {} } }) },
    'error at "- name: disk": disk as ephemeral, want persistentVolumeClaim',
  ],
  [
    "a claim that only reads",
    { ...DB, ...replaced({ persistentVolumeClaim: { claimName: "db-disk", readOnly: true } }) },
    'error at "readOnly: true": true, want no readOnly',
  ],
  [
    "a claim that nobody has seen",
    { ...DB, files: {} },
    'warning at "- name: disk": the claim db-disk, which is not among the files, want a claim with volumeMode: Block',
  ],
  [
    "something else in the volume's place",
    { ...DB, ...volumes({ name: "data", configMap: { name: "x" } }) },
    'error at "- name: data": data as configMap, want an emptyDir: the disk is mounted over it',
  ],
  [
    "a file system on the disk",
    { ...DB, containers: [{ ...WEB, volumeMounts: [{ name: "disk", mountPath: "/x" }] }] },
    'error at "- name: disk": a mount of disk, which is a block device, want a mount of data',
  ],
  [
    "somebody else with the disk",
    { ...DB, containers: [{ ...WEB, volumeDevices: [{ name: "disk", devicePath: "/dev/x" }] }] },
    'error at "- name: disk": web has the disk disk itself, want nobody beside the container that opens it',
  ],
  [
    "a mount that never sees the volume",
    { ...DB, containers: mount({ mountPropagation: "None" }) },
    'error at "mountPropagation: None": None, want HostToContainer, or no propagation',
  ],
  [
    "a mount that could share",
    { ...DB, containers: mount({ mountPropagation: "Bidirectional" }) },
    'error at "mountPropagation: Bidirectional": Bidirectional, want HostToContainer, or no propagation',
  ],
  [
    "no secret",
    { ...DB, annotations: { [PV]: "disk:data", "workload-secret-id": "" } },
    `error at "contrast.edgeless.systems/workload-secret-id: """: "": the pod gets no secret, want a workload secret id, or no annotation: the key comes from the secret`,
  ],
  [
    "no Initializer",
    { ...DB, annotations: { [PV]: "disk:data", "skip-initializer": "true" } },
    'error at "contrast.edgeless.systems/secure-pv: disk:data": secure-pv without the Initializer, want the Initializer: it gets the secret that the key is made from',
  ],
  [
    "a Coordinator",
    { ...DB, annotations: { [PV]: "disk:data", "pod-role": "coordinator" } },
    'error at "contrast.edgeless.systems/secure-pv: disk:data": secure-pv of a Coordinator, want no secure-pv: the key of a volume comes from the Coordinator',
  ],
  [
    "two pods",
    { ...DB, workload: { ...DB.workload, replicas: 2 } },
    'error at "replicas: 2": 2 pods with the one disk disk, want one pod, or a StatefulSet with a claim template: each of its pods has a disk',
  ],
  [
    "two pods of a StatefulSet with a claim of the pod",
    { ...DB, kind: "StatefulSet", workload: { replicas: 2 } },
    'error at "replicas: 2": 2 pods with the one disk disk, want one pod, or a StatefulSet with a claim template: each of its pods has a disk',
  ],
  [
    "two pods during an update",
    { ...DB, workload: {} },
    'error at "template:": strategy RollingUpdate, the default, want Recreate',
  ],
  [
    "two pods of a Job",
    { ...DB, kind: "Job", workload: { parallelism: 3 } },
    'error at "parallelism: 3": 3 pods at a time, want one',
  ],
])("refuses or warns of %s", async (_, pod, finding) => {
  const found = await reviewed(pod, {}, only);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(finding);
});

test.each<[string, object, string]>([
  ["a file system", { ...TEMPLATE.spec, volumeMode: "Filesystem" }, "disk with volumeMode Filesystem, want Block"],
  ["a file system by default", { accessModes: ["ReadWriteOnce"] }, "disk with volumeMode Filesystem, the default"],
  ["many writers", { volumeMode: "Block", accessModes: ["ReadWriteMany"] }, "disk with ReadWriteMany, want"],
  [
    "less than a volume takes",
    { ...TEMPLATE.spec, resources: { requests: { storage: "25Mi" } } },
    "disk with 25Mi, want at least 32Mi",
  ],
  ["readers", { volumeMode: "Block", accessModes: ["ReadWriteOnce", "ReadOnlyMany"] }, "disk with ReadOnlyMany, want"],
])("refuses a claim template with %s", async (_, spec, finding) => {
  const found = await reviewed({ ...SET, workload: { volumeClaimTemplates: [{ ...TEMPLATE, spec }] } }, {}, only);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(finding);
});

test("knows the least size of a volume as the program that makes it does", () => {
  expect(LEAST_BYTES).toBe(LEAST_DISK * SECTOR);
});

test("refuses a claim among the files that the pod could not open, at its place", async () => {
  const files = { "claim.yml": claim("db-disk", { accessModes: ["ReadWriteMany"] }) };
  const found = await findingsOf({ ...DB, files }, {}, only, "claim.yml");
  expect(found.map(({ finding: { got } }) => got)).toEqual([
    "db-disk with volumeMode Filesystem, the default",
    "db-disk with ReadWriteMany",
  ]);
});

test("refuses a StatefulSet whose disks have too long a name", async () => {
  const found = await reviewed({ ...SET, name: "d".repeat(60) }, {}, only);
  expect(found[0]).toMatch(/disk-d{60}-999, 69 characters, want shorter names/);
});

test("refuses a DaemonSet, each pod of which would write to the one disk", async () => {
  expect((await reviewed({ ...DB, kind: "DaemonSet", workload: {} }, {}, only))[0]).toContain("one for each node pods");
});

test("refuses a CronJob whose jobs may overlap, and one with several pods", async () => {
  const template = {
    metadata: { annotations: { "contrast.edgeless.systems/secure-pv": "disk:data" } },
    spec: { runtimeClassName: "contrast-cc", containers: DB.containers, ...DB.spec },
  };
  const cron = (spec: object, job: object): string =>
    JSON.stringify({
      apiVersion: "batch/v1",
      kind: "CronJob",
      metadata: { name: "tick" },
      spec: { ...spec, jobTemplate: { spec: { ...job, template } } },
    });
  const found = async (spec: object, job: object = {}): Promise<string[]> => {
    const files = { ...DB.files, "cron.json": cron(spec, job) };
    const plain = { ...DB, annotations: {}, spec: {}, containers: [WEB], files };
    return (await findingsOf(plain, {}, only, "cron.json")).map(({ finding: { got } }) => got);
  };
  expect(await found({ concurrencyPolicy: "Forbid" })).toEqual([]);
  expect(await found({})).toEqual(["concurrencyPolicy Allow, the default"]);
  expect(await found({ concurrencyPolicy: "Replace" }, { parallelism: 2 })).toEqual([
    "concurrencyPolicy Replace",
    "2 pods at a time",
  ]);
});

test("refuses a second workload with the claim", async () => {
  const second = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "backup" },
    spec: { template: { spec: { runtimeClassName: "contrast-cc", containers: [WEB], ...DB.spec } } },
  };
  const found = await reviewed({ ...DB, files: { ...DB.files, "second.json": JSON.stringify(second) } }, {}, only);
  expect(found).toEqual([
    'error at "- name: disk": the claim db-disk a second time, and one of them is in secure-pv, want a claim for each',
  ]);
});

test.each([
  ["simulated", "there is no VM"],
  ["aks-clh-snp", "nobody knows how the fork of Kata there"],
])("is an error on the platform %s", async (platform, reason) => {
  const found = await findingsOf(DB, { referenceValues: [platform] }, only);
  expect(found.map(({ finding: { severity, got } }) => [severity, got])).toEqual([
    ["error", `secure-pv on the platform ${platform}`],
  ]);
  expect(found[0]?.finding.hint).toContain(reason);
});

/** Of an annotation that is wrong. */
async function faultOf(run: Promise<unknown>): Promise<string> {
  const error: unknown = await run.catch((thrown: unknown) => thrown);
  if (!(error instanceof ResourceError)) throw new Error(`not refused: ${String(error)}`);
  return error.faults.map(({ where, got, want }) => `${where}: ${got}, want ${want}`).join("\n");
}

test.each([
  ["disk", '"disk", want <claim>:<volume>'],
  ["a:b:c", '"a:b:c", want <claim>:<volume>'],
  [":data", '":data", want <claim>:<volume>'],
  ["Disk:data", '"Disk:data", want <claim>:<volume>'],
  ["disk:data,", '"", want <claim>:<volume>'],
  ["disk:disk", '"disk", want every name once'],
  ["disk:data,more:data", '"data", want every name once'],
  ["disk:data,disk:more", '"disk", want every name once'],
  [`${"d".repeat(48)}:data`, `"${"d".repeat(48)}", want a name of at most 47 characters`],
])("refuses the annotation %j", async (text, fault) => {
  expect(await faultOf(reviewed({ ...DB, annotations: { [PV]: text } }))).toMatch(`secure-pv: ${fault}`);
});

test("needs native sidecars", async () => {
  const fault = await faultOf(reviewed(DB, { sidecar: "container" }));
  expect(fault).toMatch(`"disk:data" with --sidecar container, want --sidecar native`);
});
