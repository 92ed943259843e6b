import { posix } from "node:path";
import type { ImageConfig } from "../registry/resolved-image.ts";
import { allContainers, type Container, type PodSpec, type VolumeMount } from "../kubernetes/pod-spec.ts";

/**
 * What is mounted in a container: what containerd and the kubelet put into every one (containerd, pkg/oci/mounts.go and
 * internal/cri/server/container_create.go), the volumes of the pod, and those that the image asks for. Where they are
 * inside the VM, the Kata runtime decides (src/runtime/virtcontainers/kata_agent.go and fs_share_linux.go).
 */
export interface Mount {
  readonly type: string;
  /** A path in the VM; one that begins with one of the marks below is known only when the container is made. */
  readonly source: string;
  readonly options: readonly string[];
  /** Of the options, those that may be there, too. */
  readonly optional_options?: readonly string[];
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
/** Nothing that a runtime asks for: the policy refuses the container. */
const NOWHERE = "$(nowhere)";
/** The folder of the pod's emptyDir volumes. */
const EMPTY_DIR = "$(emptyDir)";
const MEMORY = "/run/kata-containers/sandbox/ephemeral";

const PROC = ["nosuid", "noexec", "nodev"];
const SHARED_MEMORY: Placed = [
  "/dev/shm",
  { type: "bind", source: "/run/kata-containers/sandbox/shm", options: ["rbind"] },
];

/** Of the sandbox: the agent has its image, and nothing of the pod is in it. */
export function sandboxMounts(pod: PodSpec): Mounts {
  const privileged = allContainers(pod).some(({ securityContext }) => securityContext?.privileged === true);
  return inOrder([
    ...deviceMounts(privileged ? "rw" : "ro"),
    SHARED_MEMORY,
    [
      "/etc/resolv.conf",
      // containerd 1.6 has fewer options.
      { type: "bind", source: COPIED, options: ["rbind", "ro"], optional_options: ["nosuid", "nodev", "noexec"] },
    ],
  ]);
}

export function mountsOf(container: Container, pod: PodSpec, image: ImageConfig): Mounts {
  const privileged = container.securityContext?.privileged === true ? "rw" : "ro";
  const root = container.securityContext?.readOnlyRootFilesystem === true ? "ro" : "rw";
  const cgroup: Mount = {
    type: "cgroup",
    source: "cgroup",
    options: [...PROC, "relatime", privileged],
    // containerd takes them from the node, where it lets the container write.
    ...(privileged === "rw" ? { optional_options: ["nsdelegate", "memory_recursiveprot"] } : {}),
  };
  const account: Placed[] =
    pod.automountServiceAccountToken === false
      ? []
      : [["/var/run/secrets/kubernetes.io/serviceaccount", { ...bind(COPIED, "ro"), optional: true }]];
  const volumes = (container.volumeMounts ?? []).map((mount): Placed => {
    return [mount.mountPath, volumeMount(mount, pod)];
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
    if (medium === undefined || medium === "other" || subPath || subPathExpr) return [];
    if (medium === "memory") {
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

function bind(source: string, access: "ro" | "rw", propagation = "rprivate"): Mount {
  return { type: "bind", source, options: ["rbind", propagation, access] };
}

function volumeMount(mount: VolumeMount, pod: PodSpec): Mount {
  const { name, subPath, subPathExpr } = mount;
  const volume = pod.volumes?.find((candidate) => candidate.name === name);
  const access = mount.readOnly === true || volume?.persistentVolumeClaim?.readOnly === true ? "ro" : "rw";
  const propagation = propagationOf(mount);

  const medium = mediumOf(name, pod);
  if (medium !== undefined) {
    // A part of one, the runtimes copy from the host, and of huge pages they know nothing.
    if (medium === "other" || subPath || subPathExpr) return bind(NOWHERE, access, propagation);
    if (medium === "memory") return bind(`${MEMORY}/${name}`, access, propagation);
    return { ...bind(`${EMPTY_DIR}/${name}`, access, propagation), type: "local" };
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

function propagationOf({ mountPropagation }: VolumeMount): string {
  if (mountPropagation === "Bidirectional") return "rshared";
  return mountPropagation === "HostToContainer" ? "rslave" : "rprivate";
}

/** Where an emptyDir is. `disk`: on a disk that the VM encrypts, or, with older runtimes, in the VM's file system. */
export type Medium = "memory" | "disk" | "other";

/** Of an emptyDir, which is also what a volume is that states no source; undefined for other volumes. */
export function mediumOf(name: string, pod: PodSpec): Medium | undefined {
  const volume = pod.volumes?.find((candidate) => candidate.name === name);
  if (volume === undefined) return undefined;
  const isBare = Object.entries(volume).every(([key, value]) => key === "name" || (value ?? null) === null);
  if (!volume.emptyDir && !isBare) return undefined;
  const medium = volume.emptyDir?.medium ?? "";
  return medium === "" ? "disk" : medium === "Memory" ? "memory" : "other";
}
