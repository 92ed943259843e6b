import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { PodSpec, VolumeMount } from "../kubernetes/pod-spec.ts";

/** Mounts and storages of a container, as containerd makes them and the Kata runtime changes them for the VM. */

const COPIES = "/run/kata-containers/shared/containers";

export function idOf(text: string, digits = 64): string {
  return createHash("sha256").update(text).digest("hex").slice(0, digits);
}

export interface MountJson {
  readonly destination: string;
  readonly source: string;
  readonly type_: string;
  readonly options: readonly string[];
}

export function mountAt(destination: string, type_: string, source: string, options: readonly string[]): MountJson {
  return { destination, source, type_, options };
}

export function bind(destination: string, source: string, options: readonly string[]): MountJson {
  return mountAt(destination, "bind", source, options);
}

/** runtime/virtcontainers/fs_share_linux.go: a random number, and the last step of the path in the container. */
export function copyOf(id: string, destination: string): string {
  return `${COPIES}/${id}-${idOf(destination, 16)}-${posix.basename(destination)}`;
}

export function deviceMounts(access: string): MountJson[] {
  const plain = ["nosuid", "noexec", "nodev"];
  return [
    mountAt("/proc", "proc", "proc", plain),
    mountAt("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    mountAt("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    mountAt("/dev/mqueue", "mqueue", "mqueue", plain),
    mountAt("/sys", "sysfs", "sysfs", [...plain, access]),
  ];
}

/** Where the runtimes have the agent mount a disk (handleBlkOCIMounts; block_emptydir_volume.rs). */
function placeOf(source: string): string {
  return `/run/kata-containers/sandbox/storage/${Buffer.from(source).toString("base64").replaceAll("+", "-").replaceAll("/", "_")}`;
}

/** An emptyDir that is not in memory, as both runtimes have it for confidential VMs (emptydir_mode = "block-encrypted"). */
export function encryptedDisk(source: string, fsGroup: number | null | undefined) {
  return {
    driver: "blk",
    driver_options: ["encryption_key=ephemeral", "create_filesystem"],
    source,
    fstype: "ext4",
    options: [],
    mount_point: placeOf(source),
    fs_group: fsGroup ? { group_id: fsGroup, group_change_policy: "Always" } : null,
    shared: true,
  };
}

export function volumeOf(
  { name, mountPath, readOnly, subPath, subPathExpr, mountPropagation }: VolumeMount,
  id: string,
  pod: PodSpec,
): { readonly mount: MountJson; readonly storage?: object } {
  const volume = pod.volumes?.find((candidate) => candidate.name === name);
  const propagation = { Bidirectional: "rshared", HostToContainer: "rslave" }[mountPropagation ?? ""] ?? "rprivate";
  const readsOnly = volume?.configMap ?? volume?.secret ?? volume?.downwardAPI ?? volume?.projected ?? volume?.image;
  const access = readOnly === true || readsOnly || volume?.persistentVolumeClaim?.readOnly === true ? "ro" : "rw";
  const options = ["rbind", propagation, access];
  const fsGroup = pod.securityContext?.fsGroup;
  const owner = fsGroup ? [`fsgid=${fsGroup}`] : [];
  if (volume?.emptyDir?.medium === "Memory") {
    const folder = `/run/kata-containers/sandbox/ephemeral/${name}`;
    const kind = { driver: "ephemeral", source: "tmpfs", fstype: "tmpfs", options: owner, driver_options: [] };
    return {
      mount: bind(mountPath, folder, options),
      storage: { ...kind, mount_point: folder, fs_group: null, shared: false },
    };
  }
  if (volume?.emptyDir) {
    const storage = encryptedDisk(`03/0${pod.volumes?.indexOf(volume) ?? 0}`, fsGroup);
    return { mount: bind(mountPath, storage.mount_point, options), storage };
  }
  // The disk of a claim, plugged in; other claims and parts of them are copied.
  if (volume?.persistentVolumeClaim && name.startsWith("disk") && !subPath && !subPathExpr) {
    const source = "02/03";
    const mount_point = placeOf(source);
    const kind = { driver: "blk", driver_options: [], source, fstype: "ext4", options };
    const storage = { ...kind, mount_point, fs_group: null, shared: false };
    return { mount: bind(mountPath, mount_point, options), storage };
  }
  const device = volume?.hostPath?.path.startsWith("/dev/") === true;
  return { mount: bind(mountPath, device ? (volume?.hostPath?.path ?? "") : copyOf(id, mountPath), options) };
}
