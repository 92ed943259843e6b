import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { PodSpec, VolumeMount } from "../kubernetes/pod-spec.ts";
import { kubeletExpand } from "./test-kubelet.ts";

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

export function volumeOf(
  { name, mountPath, readOnly, subPath, subPathExpr, mountPropagation }: VolumeMount,
  id: string,
  sandboxId: string,
  pod: PodSpec,
  kubelet: ReadonlyMap<string, string>,
): { readonly mount: MountJson; readonly storage?: object } {
  const volume = pod.volumes?.find((candidate) => candidate.name === name);
  const propagation = { Bidirectional: "rshared", HostToContainer: "rslave" }[mountPropagation ?? ""] ?? "rprivate";
  const readsOnly = volume?.configMap ?? volume?.secret ?? volume?.downwardAPI ?? volume?.projected ?? volume?.image;
  const access = readOnly === true || readsOnly || volume?.persistentVolumeClaim?.readOnly === true ? "ro" : "rw";
  const options = ["rbind", propagation, access];
  const fsGroup = pod.securityContext?.fsGroup;
  const owner = fsGroup ? [`fsgid=${fsGroup}`] : [];
  if (volume?.emptyDir) {
    const part = subPathExpr ? kubeletExpand(subPathExpr, (variable) => kubelet.get(variable)) : (subPath ?? "");
    const inMemory = volume.emptyDir.medium === "Memory";
    const folder = inMemory
      ? `/run/kata-containers/sandbox/ephemeral/${name}`
      : `${COPIES}/${sandboxId}/rootfs/local/${name}`;
    const mount = mountAt(mountPath, inMemory ? "bind" : "local", part === "" ? folder : `${folder}/${part}`, options);
    if (part !== "") return { mount };
    const kind = inMemory
      ? { driver: "ephemeral", source: "tmpfs", fstype: "tmpfs", options: owner }
      : { driver: "local", source: "local", fstype: "local", options: ["mode=0777", ...owner] };
    return { mount, storage: { ...kind, driver_options: [], mount_point: folder, fs_group: null } };
  }
  // The disk of a claim, plugged in; other claims are copied.
  if (volume?.persistentVolumeClaim && name.startsWith("disk")) {
    const source = "02/03";
    const mount_point = `/run/kata-containers/sandbox/storage/${Buffer.from(source).toString("base64url")}=`;
    const storage = { driver: "blk", driver_options: [], source, fstype: "ext4", options, mount_point, fs_group: null };
    return { mount: bind(mountPath, mount_point, options), storage };
  }
  const device = volume?.hostPath?.path.startsWith("/dev/") === true;
  return { mount: bind(mountPath, device ? (volume?.hostPath?.path ?? "") : copyOf(id, mountPath), options) };
}
