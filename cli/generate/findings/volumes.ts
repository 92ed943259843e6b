import { mediumOf } from "../../../policy/mounts.ts";
import { MESH_PROXY } from "../../../policy/own-images.ts";
import { posix } from "node:path";
import type { PreparedPod } from "../edit-pods.ts";
import type { Finding } from "../finding.ts";
import { INITIALIZER } from "../initializer.ts";
import { CERTIFICATES, FORMER_MOUNT_PATH } from "../certificates.ts";
import { sourceOf } from "../inject.ts";
import { SIMULATED_TEE } from "../simulated-tee.ts";
import { claimTemplates } from "../../../kubernetes/claims.ts";
import { allContainers } from "../../../kubernetes/pod-spec.ts";

/** Volumes that are not the VM's own memory, and what is in the way of the one with the certificates. */
export function volumeFindings(pod: PreparedPod): Finding[] {
  // The state of the Coordinator is made to lie with the host.
  if (pod.annotations.role === "coordinator") return emptyDirFindings(pod);
  return [
    ...certificateFindings(pod),
    ...formerPathFindings(pod),
    ...emptyDirFindings(pod),
    ...sharedFindings(pod),
    ...claimFindings(pod),
  ];
}

/** Forms of an emptyDir that no runtime keeps in the VM. */
function emptyDirFindings({ spec, places }: PreparedPod): Finding[] {
  const error = (where: string, got: string, want: string, hint: string): Finding => {
    return { severity: "error", code: "volume", where, got, want, hint };
  };
  const media = (spec.volumes ?? []).flatMap(({ name, emptyDir }, index) =>
    mediumOf(name, spec) === "other"
      ? [
          error(
            places.at("volumes", index),
            `${name} on ${String(emptyDir?.medium)}`,
            "medium: Memory, or no medium",
            "the policy refuses it: no runtime keeps it in the VM",
          ),
        ]
      : [],
  );
  const parts = allContainers(spec).flatMap((container) =>
    (container.volumeMounts ?? []).flatMap(({ name, subPath, subPathExpr }, index) =>
      mediumOf(name, spec) !== undefined && (subPath || subPathExpr)
        ? [
            error(
              places.of(container.name, "volumeMounts", index),
              `${subPath ? "subPath" : "subPathExpr"} of ${name}, an emptyDir`,
              "a mount of the whole volume, or a volume of its own",
              "the kubelet makes that folder on the node, and the runtimes copy it from there",
            ),
          ]
        : [],
    ),
  );
  return [...media, ...parts];
}

function certificateFindings({ spec, places, volumesBefore }: PreparedPod): Finding[] {
  const containers = allContainers(spec);
  if (!containers.some(({ name }) => name === INITIALIZER || name === MESH_PROXY)) return [];
  const { volume: own, mountPath } = CERTIFICATES;
  const findings = containers.flatMap(({ name, volumeMounts }) =>
    (volumeMounts ?? []).flatMap((mount, index): Finding[] => {
      if (mount.name === own || posix.resolve(mount.mountPath) !== mountPath) return [];
      const where = places.of(name, "volumeMounts", index);
      return [{ severity: "error", code: "volume", where, got: `another volume at ${mountPath}`, want: own }];
    }),
  );
  const index = volumesBefore.findIndex(({ name }) => name === own);
  const before = volumesBefore[index];
  if (before === undefined) return findings;
  const isEmptyDir = sourceOf(before) === "emptyDir";
  if (isEmptyDir && before.emptyDir?.medium === "Memory") return findings;
  const finding = {
    code: "volume",
    where: places.at("volumes", index),
    want: "an emptyDir with medium: Memory",
  } as const;
  return isEmptyDir
    ? [
        ...findings,
        {
          ...finding,
          severity: "warning",
          got: `${own} on the disk, which the host reads`,
          hint: "it is changed to that",
        },
      ]
    : [...findings, { ...finding, severity: "error", got: `${own} as ${sourceOf(before)}` }];
}

/** Programs that look for their files where Edgeless Systems' Contrast mounts them, and would find nothing. */
function formerPathFindings({ spec, places }: PreparedPod): Finding[] {
  if (spec.volumes?.some(({ name }) => name === CERTIFICATES.volume) !== true) return [];
  return allContainers(spec).flatMap(({ name, command, args, env, volumeMounts }): Finding[] => {
    const texts = [...(command ?? []), ...(args ?? []), ...(env ?? []).map(({ value }) => value)];
    const [path] = texts.flatMap((text) => FORMER_PATH.exec(String(text))?.[0] ?? []);
    const covered = (volumeMounts ?? []).some(({ mountPath }) => path?.startsWith(posix.join(mountPath, "/")));
    if (path === undefined || covered) return [];
    const got = `${path} in the command or the variables of ${name}, and no volume there`;
    const want = `a mount of ${CERTIFICATES.volume} at ${FORMER_MOUNT_PATH}, or ${CERTIFICATES.mountPath} in the path`;
    return [{ severity: "warning", code: "volume", where: places.of(name, "volumeMounts"), got, want }];
  });
}

const FORMER_PATH = new RegExp(`(?<![\\w.-])${FORMER_MOUNT_PATH}/(?:tls-config|secrets)(?:/[\\w.-]+)?`);

/** What may be in a volume that the host reads and writes. */
const WANTED: Readonly<Record<string, string>> = {
  configMap: "nothing that the pod relies on: that belongs into the image or the resource",
  downwardAPI: "nothing that the pod relies on",
  projected: "nothing secret, and nothing that the pod relies on",
  secret: "nothing secret: secrets come from /tls-config or over the mesh",
  hostPath: "an emptyDir, or files of the image",
};

function sharedFindings({ spec, places, annotations }: PreparedPod): Finding[] {
  return (spec.volumes ?? []).flatMap((volume, index): Finding[] => {
    const source = sourceOf(volume);
    // Of the platform `simulated`: `generate` put it there, and takes it away on any other.
    const isOwn = volume.name === CERTIFICATES.volume || volume.name === SIMULATED_TEE.volume;
    const isEncrypted = annotations.secureVolumes.some(({ device }) => device === volume.name);
    if (source === "emptyDir" || isOwn || isEncrypted) return [];
    return [shared(places.at("volumes", index), `${volume.name} as ${source}`, WANTED[source])];
  });
}

/** A StatefulSet has volumes beside its pod template. */
function claimFindings({ workload, annotations }: PreparedPod): Finding[] {
  return claimTemplates(workload)
    .filter(({ name }) => !annotations.secureVolumes.some(({ device }) => device === name))
    .map(({ name, place }) => shared(place(), `${name} as persistentVolumeClaim`, undefined));
}

function shared(where: string, got: string, want = "only what the pod encrypts and authenticates"): Finding {
  return { severity: "warning", code: "volume", where, got, want, hint: "the host can read and change it" };
}
