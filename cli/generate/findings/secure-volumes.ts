import { type Claim, claimKey, claimTemplates, findClaims } from "../../../kubernetes/claims.ts";
import { milliOf } from "../../../kubernetes/quantity.ts";
import { allContainers, type Volume } from "../../../kubernetes/pod-spec.ts";
import { fieldIn, placeIn, type ResourceFile, type TreePath } from "../../../kubernetes/resource-file.ts";
import type { Workload } from "../../../kubernetes/workloads.ts";
import { ANNOTATION } from "../annotations.ts";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { INITIALIZER } from "../initializer.ts";
import { sourceOf } from "../inject.ts";
import { platformFacts } from "../platforms.ts";
import type { SecureVolume } from "../secure-volumes.ts";
import { isVolumeContainer } from "../volume-container.ts";
import { countsOf } from "./counts.ts";

/** What keeps a pod's encrypted volumes from working, or lets a second pod write to the same disk. */

type Report = (where: string, got: string, want: string, hint?: string) => void;

export function secureVolumeFindings(pods: readonly PreparedPod[], files: readonly ResourceFile[]): Finding[] {
  const claims = findClaims(files);
  const findings = pods.flatMap((pod) => {
    if (pod.annotations.secureVolumes.length === 0) return [...leftOver(pod)];
    const found: Finding[] = [];
    const error: Report = (where, got, want, hint) => {
      found.push({ severity: "error", code: "secure_pv", where, got, want, ...(hint !== undefined && { hint }) });
    };
    checkPod(pod, error);
    // It gets none of the containers.
    if (pod.annotations.role === "coordinator") return found;
    for (const wanted of pod.annotations.secureVolumes) {
      checkContainers(pod, wanted, error);
      found.push(...checkDisk(pod, wanted, claims, files, error));
    }
    return found;
  });
  return [...findings, ...sharedClaims(pods)];
}

const annotation = ({ places }: PreparedPod): string => places.annotation(ANNOTATION.secureVolumes);

/** What it takes to open any volume. */
function checkPod(pod: PreparedPod, error: Report): void {
  const { annotations, platform, places, spec } = pod;
  const where = annotation(pod);
  const { noSecureVolumes } = platformFacts(platform);
  if (noSecureVolumes !== undefined)
    error(where, `secure-pv on the platform ${platform}`, "another platform", noSecureVolumes);
  if (annotations.role === "coordinator") {
    error(where, "secure-pv of a Coordinator", "no secure-pv: the key of a volume comes from the Coordinator");
  } else if (!spec.initContainers?.some(({ name }) => name === INITIALIZER)) {
    error(where, "secure-pv without the Initializer", "the Initializer: it gets the secret that the key is made from");
  }
  if (annotations.workloadSecretId === "") {
    const at = places.annotation(ANNOTATION.workloadSecretId);
    error(at, '"": the pod gets no secret', "a workload secret id, or no annotation: the key comes from the secret");
  }
}

/** Who else has the disk, and who mounts the volume in another way. */
function checkContainers({ spec, places }: PreparedPod, { device, volume }: SecureVolume, error: Report): void {
  for (const container of allContainers(spec)) {
    if (isVolumeContainer(container)) continue;
    for (const [index, { name }] of (container.volumeDevices ?? []).entries()) {
      if (name !== device) continue;
      const where = places.of(container.name, "volumeDevices", index);
      error(where, `${container.name} has the disk ${device} itself`, "nobody beside the container that opens it");
    }
    for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
      const where = (field: string): string => places.of(container.name, "volumeMounts", index, field);
      if (mount.name === device) {
        error(where("name"), `a mount of ${device}, which is a block device`, `a mount of ${volume}`);
      }
      if (mount.name !== volume || mount.mountPropagation === "HostToContainer") continue;
      const hint = "the container sees the volume where it is mounted after it has started";
      error(where("mountPropagation"), String(mount.mountPropagation), "HostToContainer, or no propagation", hint);
    }
  }
}

/** @returns what is not known */
function checkDisk(
  pod: PreparedPod,
  { device, volume }: SecureVolume,
  claims: ReadonlyMap<string, Claim>,
  files: readonly ResourceFile[],
  error: Report,
): Finding[] {
  const { workload, places, volumesBefore } = pod;
  checkMount(pod, volume, error);
  // A StatefulSet's template goes before a volume of the same name (k8s.io/kubernetes, stateful_set_utils.go).
  const template = claimTemplates(workload).find(({ name }) => name === device);
  if (template !== undefined) {
    checkClaim(template, error);
    checkName(pod, device, error);
    return [];
  }
  const index = volumesBefore.findIndex(({ name }) => name === device);
  const source = volumesBefore[index];
  if (source === undefined) {
    const want = "the name of a volume of the pod that is a claim, or of a claim template";
    error(annotation(pod), `no volume ${device}`, want);
    return [];
  }
  const where = places.at("volumes", index);
  const { claimName, readOnly } = (source.persistentVolumeClaim ?? {}) as { claimName?: unknown; readOnly?: unknown };
  if (typeof claimName !== "string") {
    error(where, `${device} as ${sourceOf(source)}`, "persistentVolumeClaim", sourceHint(source));
    return [];
  }
  if (readOnly === true) error(places.at("volumes", index, "persistentVolumeClaim", "readOnly"), "true", "no readOnly");
  checkSingle(workload, device, files, error);
  const claim = claims.get(claimKey(claimName, workload.namespace));
  if (claim !== undefined) {
    checkClaim(claim, error);
    return [];
  }
  return [
    {
      severity: "warning",
      code: "secure_pv",
      where,
      got: `the claim ${claimName}, which is not among the files`,
      want: "a claim with volumeMode: Block",
      hint: "the API server refuses to start a pod whose claim has a file system, and nobody has looked at its access modes",
    },
  ];
}

function sourceHint(source: Volume): string | undefined {
  if (source["ephemeral"] !== undefined) return "that disk goes with its pod: an emptyDir is for such data";
  return "Kubernetes gives containers no other block devices";
}

function checkMount({ places, volumesBefore }: PreparedPod, volume: string, error: Report): void {
  const index = volumesBefore.findIndex(({ name }) => name === volume);
  const before = volumesBefore[index];
  if (before === undefined || sourceOf(before) === "emptyDir") return;
  error(places.at("volumes", index), `${volume} as ${sourceOf(before)}`, "an emptyDir: the disk is mounted over it");
}

const ONE_NODE: ReadonlySet<string> = new Set(["ReadWriteOnce", "ReadWriteOncePod"]);

/** Of the disk of a volume, in bytes: `initializer volume` refuses a smaller one. */
export const LEAST_BYTES = 32 * 2 ** 20;

function checkClaim({ name, volumeMode, accessModes, storage, place }: Claim, error: Report): void {
  const milli = storage === undefined ? undefined : milliOf(storage);
  if (milli !== undefined && milli < LEAST_BYTES * 1000) {
    const where = place("resources", "requests", "storage");
    error(where, `${name} with ${storage}`, "at least 32Mi: half of that is the journal of a volume");
  }
  if (volumeMode !== "Block") {
    error(place("volumeMode"), `${name} with volumeMode ${volumeMode ?? "Filesystem, the default"}`, "Block");
  }
  const other = accessModes.find((mode) => !ONE_NODE.has(mode));
  if (other !== undefined) {
    const hint = "two VMs that write to one disk destroy what is on it";
    error(place("accessModes"), `${name} with ${other}`, "ReadWriteOncePod, or ReadWriteOnce", hint);
  }
}

/** `<template>-<StatefulSet>-<ordinal>`: the name of the claim is the volume's, which has at most 63 characters. */
function checkName(pod: PreparedPod, device: string, error: Report): void {
  const longest = `${device}-${pod.workload.name}-999`;
  if (longest.length <= 63) return;
  error(
    annotation(pod),
    `${longest}, ${longest.length} characters`,
    "shorter names: a volume has at most 63 characters",
  );
}

/** Whether more than one pod can have the one disk at a time. */
function checkSingle(workload: Workload, device: string, files: readonly ResourceFile[], error: Report): void {
  const { kind, file, document, path } = workload;
  const hint = "two VMs that write to one disk destroy what is on it";
  const at = (...inner: TreePath): { readonly value: unknown; readonly where: string } => {
    const whole = [...path, ...inner];
    const value = whole.reduce<unknown>(
      (outer, step) => (Object(outer) as Readonly<Record<string | number, unknown>>)[step],
      file.values[document],
    );
    return { value, where: `${placeIn(file, document, whole)}, ${fieldIn(whole)}` };
  };
  const several = countsOf(workload, files).find(({ count }) => typeof count === "string" || count > 1);
  if (several !== undefined) {
    const want = "one pod, or a StatefulSet with a claim template: each of its pods has a disk";
    error(several.where, `${several.count} pods with the one disk ${device}`, want, hint);
  }
  if (kind === "Deployment") {
    const { value, where } = at("spec", "strategy", "type");
    // The new pod starts before the old one ends, and may do so on the same node, where ReadWriteOnce keeps nobody off.
    if (value !== "Recreate") error(where, `strategy ${text(value, "RollingUpdate, the default")}`, "Recreate", hint);
  }
  if (kind === "Job" || kind === "CronJob") {
    const spec = kind === "Job" ? ["spec"] : ["spec", "jobTemplate", "spec"];
    const parallelism = at(...spec, "parallelism");
    if (typeof parallelism.value === "number" && parallelism.value > 1) {
      error(parallelism.where, `${parallelism.value} pods at a time`, "one", hint);
    }
  }
  if (kind === "CronJob") {
    const { value, where } = at("spec", "concurrencyPolicy");
    if (value !== "Forbid") error(where, `concurrencyPolicy ${text(value, "Allow, the default")}`, "Forbid", hint);
  }
}

function text(value: unknown, unset: string): string {
  return typeof value === "string" ? value : unset;
}

/** One claim in two workloads, of which one formats and mounts it. */
function sharedClaims(pods: readonly PreparedPod[]): Finding[] {
  const users = pods.flatMap((pod) =>
    pod.volumesBefore.flatMap(({ name, persistentVolumeClaim }, index) => {
      const claim = persistentVolumeClaim?.["claimName"];
      if (typeof claim !== "string") return [];
      const isSecure = pod.annotations.secureVolumes.some(({ device }) => device === name);
      return [{ pod, index, claim, key: claimKey(claim, pod.workload.namespace), isSecure }];
    }),
  );
  return users
    .filter(({ key }) => users.some((other) => other.key === key && other.isSecure))
    .filter((user, index, all) => all.findIndex(({ key }) => key === user.key) !== index)
    .map(({ pod, index, claim }): Finding => ({
      severity: "error",
      code: "secure_pv",
      where: pod.places.at("volumes", index),
      got: `the claim ${claim} a second time, and one of them is in secure-pv`,
      want: "a claim for each",
      hint: "two VMs that write to one disk destroy what is on it",
    }));
}

/** The annotation is gone since the last run: what was on a disk is in memory now, and nothing else says so. */
function leftOver({ places, droppedVolumes }: PreparedPod): Finding[] {
  return droppedVolumes.map((volume): Finding => ({
    severity: "warning",
    code: "secure_pv",
    where: places.workload,
    got: `no secure-pv any more: ${volume} is in the VM's memory, and lost when the pod ends`,
    want: "another volume, or the annotation",
  }));
}
