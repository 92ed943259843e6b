import { posix } from "node:path";
import type { ImageConfig } from "../registry/resolved-image.ts";
import type { Container, PodSpec, VolumeMount } from "../kubernetes/pod-spec.ts";
import { commandResolver } from "./environment.ts";
import { expand, type Template } from "./expansion.ts";

/**
 * What is mounted in a container: what containerd and the kubelet put into every one (containerd, pkg/oci/mounts.go and
 * internal/cri/server/container_create.go), the volumes of the pod, and those that the image asks for. Where they are
 * inside the VM, the Kata runtime decides (src/runtime/virtcontainers/kata_agent.go and fs_share_linux.go).
 */
export interface Mount {
  readonly type: string;
  /** A path in the VM; one that begins with one of the marks below is known only when the container is made. */
  readonly source: Template;
  readonly options: readonly string[];
  /** True: it may be missing. */
  readonly optional?: true;
  /** The mount around it, which would hide it if it came later. */
  readonly inside?: string;
}

/** By the paths in the container. */
export type Mounts = Readonly<Record<string, Mount>>;
type Placed = readonly [destination: string, mount: Mount];

/** What the agent has to do before it can mount them: make the volumes in the VM's own memory. */
export interface Storage {
  readonly driver: string;
  readonly source: string;
  readonly fstype: string;
  readonly mount_point: string;
  readonly options: readonly string[];
}

/** A file or folder that the host copied into the VM for this container. */
const COPIED = "$(copied)";
/** Copied, or a disk of the host's. */
const CLAIM = "$(claim)";
/** The folder of the pod's emptyDir volumes. */
const EMPTY_DIR = "$(emptyDir)";
const MEMORY = "/run/kata-containers/sandbox/ephemeral";

const PROC = ["nosuid", "noexec", "nodev"];
const SHARED_MEMORY: Placed = [
  "/dev/shm",
  { type: "bind", source: "/run/kata-containers/sandbox/shm", options: ["rbind"] },
];

/** Of the sandbox: the agent has its image, and nothing of the pod is in it. */
export const SANDBOX_MOUNTS: Mounts = inOrder([
  ...deviceMounts("ro"),
  SHARED_MEMORY,
  ["/etc/resolv.conf", { type: "bind", source: COPIED, options: ["rbind", "ro", "nosuid", "nodev", "noexec"] }],
]);

export function mountsOf(container: Container, pod: PodSpec, image: ImageConfig): Mounts {
  const privileged = container.securityContext?.privileged === true ? "rw" : "ro";
  const root = container.securityContext?.readOnlyRootFilesystem === true ? "ro" : "rw";
  const cgroup: Mount = { type: "cgroup", source: "cgroup", options: [...PROC, "relatime", privileged] };
  const account: Placed[] =
    pod.automountServiceAccountToken === false
      ? []
      : [["/var/run/secrets/kubernetes.io/serviceaccount", { ...bind(COPIED, "ro"), optional: true }]];
  const volumes = (container.volumeMounts ?? []).map((mount): Placed => {
    return [mount.mountPath, volumeMount(mount, container, pod, image)];
  });
  const taken = new Set(volumes.map(([destination]) => folderOf(destination)));
  const added: Placed[] = [
    ...deviceMounts(privileged),
    ["/sys/fs/cgroup", cgroup],
    ["/etc/hosts", bind(COPIED, "rw")],
    [container.terminationMessagePath ?? "/dev/termination-log", bind(COPIED, "rw")],
    ["/etc/hostname", bind(COPIED, root)],
    ["/etc/resolv.conf", bind(COPIED, root)],
    SHARED_MEMORY,
    ...account,
    // The host can write into what it copied: an image that wants a volume should get one from the pod.
    ...image.volumes.map((path): Placed => [posix.normalize(path), bind(COPIED, "rw")]),
  ];
  return inOrder([...added.filter(([destination]) => !taken.has(folderOf(destination))), ...volumes]);
}

/** Each volume once, though several mounts may show it. */
export function storagesOf(container: Container, pod: PodSpec): Storage[] {
  const fsGroup = pod.securityContext?.fsGroup ?? 0;
  const owner = fsGroup === 0 ? [] : [`fsgid=${fsGroup}`];
  const storages = (container.volumeMounts ?? []).flatMap(({ name, subPath, subPathExpr }): Storage[] => {
    const medium = mediumOf(name, pod);
    // What shows a part of a volume finds it made.
    if (medium === undefined || subPath || subPathExpr) return [];
    if (medium === "Memory") {
      return [
        { driver: "ephemeral", source: "tmpfs", fstype: "tmpfs", mount_point: `${MEMORY}/${name}`, options: owner },
      ];
    }
    const options = ["mode=0777", ...owner];
    return [{ driver: "local", source: "local", fstype: "local", mount_point: `${EMPTY_DIR}/${name}`, options }];
  });
  return [...new Map(storages.map((storage) => [storage.mount_point, storage])).values()];
}

/** The volumes that an image asks for and the pod does not give: paths whose content the host can read and change. */
export function imageVolumesOf({ volumeMounts }: Container, image: ImageConfig): string[] {
  const mounted = new Set((volumeMounts ?? []).map(({ mountPath }) => folderOf(mountPath)));
  return image.volumes.filter((path) => !mounted.has(folderOf(path)));
}

/** Without double slashes, and with one at its end. */
function folderOf(path: string): string {
  return posix.join(path, "/");
}

/** Says of each mount which other one is around it: the closest. */
function inOrder(mounts: readonly Placed[]): Mounts {
  const around = (path: string): string | undefined => {
    const outer = mounts.filter(([other]) => other !== path && folderOf(path).startsWith(folderOf(other)));
    return outer.toSorted(([a], [b]) => b.length - a.length)[0]?.[0];
  };
  return Object.fromEntries(
    mounts.map(([path, mount]) => {
      const inside = around(path);
      return [path, inside === undefined ? mount : { ...mount, inside }];
    }),
  );
}

function deviceMounts(access: "ro" | "rw"): Placed[] {
  const device = ["nosuid", "strictatime", "mode=755", "size=65536k"];
  const terminal = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
  return [
    ["/proc", { type: "proc", source: "proc", options: PROC }],
    ["/dev", { type: "tmpfs", source: "tmpfs", options: device }],
    ["/dev/pts", { type: "devpts", source: "devpts", options: terminal }],
    ["/dev/mqueue", { type: "mqueue", source: "mqueue", options: PROC }],
    ["/sys", { type: "sysfs", source: "sysfs", options: [...PROC, access] }],
  ];
}

function bind(source: Template, access: "ro" | "rw", propagation = "rprivate"): Mount {
  return { type: "bind", source, options: ["rbind", propagation, access] };
}

function volumeMount(mount: VolumeMount, container: Container, pod: PodSpec, image: ImageConfig): Mount {
  const { name, subPath, subPathExpr } = mount;
  const volume = pod.volumes?.find((candidate) => candidate.name === name);
  const access = mount.readOnly === true || volume?.persistentVolumeClaim?.readOnly === true ? "ro" : "rw";
  const propagation = propagationOf(mount);

  const medium = mediumOf(name, pod);
  if (medium !== undefined) {
    const folder = `${medium === "Memory" ? MEMORY : EMPTY_DIR}/${name}`;
    const part = subPathExpr ? expand(subPathExpr, commandResolver(container, pod, image)) : (subPath ?? "");
    const source = part === "" ? folder : joined(`${folder}/`, part);
    return { ...bind(source, access, propagation), type: medium === "Memory" ? "bind" : "local" };
  }
  if (volume?.configMap ?? volume?.secret ?? volume?.downwardAPI ?? volume?.projected ?? volume?.image) {
    return bind(COPIED, "ro", propagation);
  }
  if (volume?.hostPath) {
    const { path } = volume.hostPath;
    return bind(/^\/(dev|sys)\//.test(path) ? path : COPIED, access, propagation);
  }
  // A claim, one made from a template of the StatefulSet, or another that a driver brings.
  return bind(CLAIM, access, propagation);
}

function joined(folder: string, part: Template): Template {
  return typeof part === "string" ? folder + part : [folder, ...part];
}

function propagationOf({ mountPropagation }: VolumeMount): string {
  if (mountPropagation === "Bidirectional") return "rshared";
  return mountPropagation === "HostToContainer" ? "rslave" : "rprivate";
}

/** Of an emptyDir, which is also what a volume is that states no source; undefined for other volumes. */
function mediumOf(name: string, pod: PodSpec): string | undefined {
  const volume = pod.volumes?.find((candidate) => candidate.name === name);
  if (volume === undefined) return undefined;
  const isBare = Object.entries(volume).every(([key, value]) => key === "name" || (value ?? null) === null);
  return volume.emptyDir || isBare ? (volume.emptyDir?.medium ?? "") : undefined;
}
