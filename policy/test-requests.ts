import type { ImageConfig, ResolvedImages } from "../registry/resolved-image.ts";
import type { Container, PodSpec } from "../kubernetes/pod-spec.ts";
import { kubeletEnvironment, kubeletExpand, type Cluster } from "./test-kubelet.ts";
import { CAPABILITIES, capabilitiesOf, createContainer, type Request } from "./test-container.ts";
import type { PolicySubject } from "./policy.ts";
import { bind, copyOf, deviceMounts, idOf, mountAt, type MountJson, volumeOf } from "./test-mounts.ts";

/**
 * What kubelet, containerd and the Kata runtime ask an agent for, to run a pod in a confidential VM (shared_fs = "none",
 * images pulled by the guest): the messages of agent.proto, as JSON with all their fields, as the agent hands them to its
 * policy. Written from the sources of these programs, not from those of the policy.
 */

export interface ContainerRequests {
  readonly name: string;
  readonly id: string;
  readonly create: Request;
  readonly start: Request;
  /** Probes and hooks. */
  readonly execs: readonly Request[];
  readonly remove: Request;
}

export interface PodRequests {
  readonly sandbox: Request;
  /** The sandbox's own is the first one. */
  readonly containers: readonly ContainerRequests[];
}

export function podRequests(pod: PodSpec, images: ResolvedImages, cluster: Cluster): PodRequests {
  const sandboxId = idOf(`${cluster.podName}/sandbox`);
  const containers = [...(pod.initContainers ?? []), ...pod.containers];
  return {
    sandbox: {
      kind: "CreateSandboxRequest",
      request: {
        hostname: pod.hostname ?? cluster.podName,
        dns: ["search default.svc.cluster.local", "nameserver 10.96.0.10"],
        storages: [
          {
            driver: "ephemeral",
            driver_options: [],
            source: "shm",
            fstype: "tmpfs",
            options: ["noexec", "nosuid", "nodev", "mode=1777", "size=67108864"],
            mount_point: "/run/kata-containers/sandbox/shm",
            fs_group: null,
            shared: false,
          },
        ],
        sandbox_pidns: false,
        sandbox_id: sandboxId,
        guest_hook_path: "",
        kernel_modules: [],
      },
    },
    containers: [
      requestsFor("", sandboxId, sandboxContainer(sandboxId, pod, cluster), [], cluster),
      ...containers.map((container) => {
        const id = idOf(`${cluster.podName}/${container.name}`);
        const config = images.get(container.image)?.config;
        if (config === undefined) throw new Error(`no image ${container.image}`);
        const create = podContainer(id, sandboxId, container, pod, config, cluster);
        return requestsFor(container.name, id, create, execCommands(container), cluster);
      }),
    ],
  };
}

function requestsFor(
  name: string,
  id: string,
  create: Request,
  commands: readonly string[][],
  { runtime }: Cluster,
): ContainerRequests {
  const { Process } = create.request.OCI;
  // kata_agent.go, cmdToKataProcess, takes a few fields; runtime-rs, manager.rs, exec_process, leaves out a few.
  const kept = runtime === "go-shim" ? { NoNewPrivileges: false, OOMScoreAdj: 0 } : {};
  const process = { ...Process, Capabilities: null, Terminal: false, ApparmorProfile: "", ...kept };
  return {
    name,
    id,
    create,
    start: { kind: "StartContainerRequest", request: { container_id: id } },
    execs: commands.map((Args, index) => ({
      kind: "ExecProcessRequest",
      request: {
        container_id: id,
        exec_id: `probe-${index}`,
        string_user: null,
        process: { ...process, Args },
        stdin_port: 0,
        stdout_port: 0,
        stderr_port: 0,
      },
    })),
    remove: { kind: "RemoveContainerRequest", request: { container_id: id, timeout: 0 } },
  };
}

function execCommands({ startupProbe, livenessProbe, readinessProbe, lifecycle, env }: Container): string[][] {
  const values = new Map((env ?? []).map(({ name, value }) => [name, value ?? ""]));
  const probes = [startupProbe, livenessProbe, readinessProbe].map((probe) =>
    (probe?.exec?.command ?? []).map((text) => kubeletExpand(text, (name) => values.get(name))),
  );
  const hooks = [lifecycle?.postStart, lifecycle?.preStop].map((hook) => hook?.exec?.command ?? []);
  return [...probes, ...hooks].filter((command) => command.length > 0);
}

function podContainer(
  id: string,
  sandboxId: string,
  container: Container,
  pod: PodSpec,
  image: ImageConfig,
  cluster: Cluster,
): Request {
  const { securityContext: security } = container;
  const privileged = security?.privileged === true;
  const root = security?.readOnlyRootFilesystem === true ? "ro" : "rw";
  const kubelet = kubeletEnvironment(container, pod, cluster);
  const expanded = (texts: readonly string[]) => texts.map((text) => kubeletExpand(text, (name) => kubelet.get(name)));
  const [command, args] = [expanded(container.command ?? []), expanded(container.args ?? [])];
  const hostname = pod.hostname ?? cluster.podName;
  const tty = container.tty === true ? ["TERM=xterm"] : [];
  const env = merged(
    [PATH, `HOSTNAME=${hostname}`, ...tty],
    image.env,
    [...kubelet].map(([name, value]) => `${name}=${value}`),
  );

  const stated = security?.runAsUser ?? pod.securityContext?.runAsUser;
  const uid = stated ?? Number(image.user.split(":", 1)[0] || 0);
  const gid = security?.runAsGroup ?? pod.securityContext?.runAsGroup ?? (uid === 0 ? 0 : cluster.passwdGroup(uid));
  const supplemental = pod.securityContext?.supplementalGroups ?? [];
  const fsGroup = pod.securityContext?.fsGroup;

  const volumes = (container.volumeMounts ?? []).map((mount) => volumeOf(mount, id, pod));
  const mounts = new Map<string, MountJson>();
  const put = (...list: readonly MountJson[]): void => list.forEach((mount) => mounts.set(mount.destination, mount));
  put(...deviceMounts(privileged ? "rw" : "ro"));
  const ofNode = privileged && cluster.containerd !== "1.6" ? ["nsdelegate", "memory_recursiveprot"] : [];
  const cgroup = ["nosuid", "noexec", "nodev", "relatime", privileged ? "rw" : "ro", ...ofNode];
  put(mountAt("/sys/fs/cgroup", "cgroup", "cgroup", cgroup));
  const copied = (destination: string, access: string) =>
    bind(destination, copyOf(id, destination), ["rbind", "rprivate", access]);
  put(copied("/etc/hosts", "rw"), copied(container.terminationMessagePath ?? "/dev/termination-log", "rw"));
  put(copied("/etc/hostname", root), copied("/etc/resolv.conf", root));
  put(bind("/dev/shm", "/run/kata-containers/sandbox/shm", ["rbind"]));
  for (const volume of image.volumes) put(copied(volume, "rw"));
  if (pod.automountServiceAccountToken !== false) put(copied("/var/run/secrets/kubernetes.io/serviceaccount", "ro"));
  put(...volumes.map(({ mount }) => mount));

  const propagation = new Set((container.volumeMounts ?? []).map(({ mountPropagation }) => mountPropagation));
  const devices = container.volumeDevices ?? [];
  return createContainer(id, sandboxId, "container", container.image, cluster, {
    annotations: {
      "io.kubernetes.cri.container-name": container.name,
      "io.kubernetes.cri.image-name": container.image,
    },
    hostname: "",
    program: {
      args: [...(command.length > 0 ? command : image.entrypoint), ...lastArgs(command, args, image)],
      env,
      cwd: container.workingDir ?? (image.workingDir || "/"),
      terminal: container.tty === true,
      noNewPrivileges: security?.allowPrivilegeEscalation === false,
      capabilities: capabilitiesOf(container),
      user: {
        UID: uid,
        GID: gid,
        AdditionalGids: [
          ...new Set([gid, ...(uid === 0 ? cluster.rootGroups : []), ...supplemental, ...(fsGroup ? [fsGroup] : [])]),
        ],
        Username: "",
      },
      apparmor: cluster.containerd === "1.6" ? "" : "cri-containerd.apparmor.d",
      oomScoreAdj: 995,
    },
    readOnlyRoot: root === "ro",
    mounts: [...mounts.values()],
    storages: volumes.flatMap(({ storage }) => storage ?? []),
    sharedPid: pod.shareProcessNamespace === true,
    ownCgroups: !privileged,
    masked: !privileged && (security?.procMount ?? "Default") === "Default" ? MASKED : [],
    propagation: propagation.has("Bidirectional") ? "rshared" : propagation.has("HostToContainer") ? "rslave" : "",
    sysctls: defaultSysctls(cluster),
    devices: devices.map(({ devicePath }, index) => ({ path: devicePath, id: `02/0${index}` })),
  });
}

function lastArgs(command: readonly string[], args: readonly string[], image: ImageConfig): readonly string[] {
  if (args.length > 0) return args;
  return command.length > 0 ? [] : image.cmd;
}

function sandboxContainer(id: string, pod: PodSpec, cluster: Cluster): Request {
  const isOld = cluster.containerd === "1.6";
  const logs = `/var/log/pods/${cluster.namespace}_${cluster.podName}_${cluster.uid}`;
  const privileged = [...(pod.initContainers ?? []), ...pod.containers].some(
    ({ securityContext }) => securityContext?.privileged === true,
  );
  const devices = deviceMounts(privileged ? "rw" : "ro");
  const memory = bind("/dev/shm", "/run/kata-containers/sandbox/shm", ["rbind"]);
  const options = ["rbind", "ro", ...(isOld ? [] : ["nosuid", "nodev", "noexec"])];
  return createContainer(id, id, "sandbox", "pause", cluster, {
    annotations: {
      "io.kubernetes.cri.sandbox-cpu-period": "100000",
      "io.kubernetes.cri.sandbox-cpu-quota": "0",
      "io.kubernetes.cri.sandbox-cpu-shares": "112",
      "io.kubernetes.cri.sandbox-memory": "402653184",
      "io.kubernetes.cri.sandbox-log-directory": logs,
      ...(isOld ? {} : { "nerdctl/network-namespace": "/var/run/netns/cni-11111111-2222-3333-4444-555555555555" }),
    },
    hostname: pod.hostname ?? cluster.podName,
    program: {
      args: ["/pause"],
      env: isOld ? [] : [PATH],
      cwd: "/",
      terminal: false,
      noNewPrivileges: true,
      capabilities: CAPABILITIES,
      user: sandboxUser(pod, isOld),
      apparmor: "",
      oomScoreAdj: isOld ? 0 : -998,
    },
    readOnlyRoot: true,
    mounts: [
      // containerd 1.6 has one of its own, too.
      ...(isOld ? [...devices.slice(0, 3), memory, ...devices.slice(3)] : devices),
      memory,
      bind("/etc/resolv.conf", copyOf(id, "/etc/resolv.conf"), options),
    ],
    storages: [],
    sharedPid: false,
    ownCgroups: false,
    masked: SANDBOX_MASKED,
    propagation: "",
    sysctls: {
      ...defaultSysctls(cluster),
      ...Object.fromEntries((pod.securityContext?.sysctls ?? []).map(({ name, value }) => [name, value])),
    },
    devices: [],
  });
}

/** That of the pause image, which older ones don't state. */
function sandboxUser({ securityContext }: PodSpec, isOld: boolean): object {
  const stated = securityContext?.runAsUser;
  if (isOld && typeof stated !== "number") return { UID: 0, GID: 0, AdditionalGids: [], Username: "" };
  const user = stated ?? 65535;
  return { UID: user, GID: user, AdditionalGids: [user], Username: "" };
}

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The kubelet's (pkg/securitycontext), and containerd's (pkg/oci/spec.go). */
const MASKED = maskedPaths(
  "/proc/{asound,acpi,interrupts,kcore,keys,latency_stats,timer_list,timer_stats,sched_debug,scsi}",
  "/sys/{firmware,devices/virtual/powercap}",
);
const SANDBOX_MASKED = maskedPaths(
  "/proc/{acpi,asound,kcore,keys,latency_stats,timer_list,timer_stats,sched_debug}",
  "/sys/{firmware}",
  "/proc/{scsi}",
);

function maskedPaths(...patterns: readonly string[]): string[] {
  return patterns.flatMap((pattern) => {
    const [folder = "", names = ""] = pattern.slice(0, -1).split("{");
    return names.split(",").map((name) => folder + name);
  });
}

/** Where containerd lets programs have low ports and ping (enable_unprivileged_ports, its default since 2.0). */
function defaultSysctls({ containerd }: Cluster): Readonly<Record<string, string>> {
  if (containerd === "1.6") return {};
  return { "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647" };
}

/** oci.WithEnv: a later value takes the place of an earlier one. */
function merged(...lists: readonly (readonly string[])[]): string[] {
  const env = new Map<string, string>();
  for (const variable of lists.flat()) env.set(variable.split("=", 1)[0] ?? "", variable);
  return [...env.values()];
}

/** The name that a controller gives to a pod. */
export function podNameOf({ kind, name }: Pick<PolicySubject, "kind" | "name">): string {
  const middle: Readonly<Record<string, string>> = {
    Pod: "",
    StatefulSet: "-0",
    Deployment: "-5d78c9869d-79bfv",
    CronJob: "-29123456-x7k2p",
  };
  return name + (middle[kind] ?? "-q9zt4");
}
