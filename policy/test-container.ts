import type { Container } from "../kubernetes/pod-spec.ts";
import type { Cluster } from "./test-kubelet.ts";
import type { MountJson } from "./test-mounts.ts";

/** The message by which the Kata runtime has a container created (agent.proto and oci.proto), with all its fields. */

export interface Request {
  readonly kind: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests change any part of it
  readonly request: any;
}

export const CAPABILITIES = [
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL",
  "AUDIT_WRITE",
].flatMap((names) => names.split(" ").map((name) => `CAP_${name}`));
const MORE_CAPABILITIES = [
  "DAC_READ_SEARCH LINUX_IMMUTABLE NET_BROADCAST NET_ADMIN IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_PTRACE SYS_PACCT",
  "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG LEASE AUDIT_CONTROL MAC_OVERRIDE MAC_ADMIN SYSLOG",
  "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE",
].flatMap((names) => names.split(" ").map((name) => `CAP_${name}`));

/** containerd, internal/cri/opts/spec_linux_opts.go and oci.WithCapabilities. */
export function capabilitiesOf({ securityContext }: Container): string[] {
  const all = [...CAPABILITIES, ...MORE_CAPABILITIES];
  if (securityContext?.privileged === true) return all;
  const add = new Set(securityContext?.capabilities?.add ?? []);
  const drop = new Set(securityContext?.capabilities?.drop ?? []);
  const granted = new Set(add.has("ALL") ? all : CAPABILITIES);
  if (drop.has("ALL")) granted.clear();
  for (const name of add) if (name !== "ALL") granted.add(`CAP_${name}`);
  for (const name of drop) granted.delete(`CAP_${name}`);
  return [...granted];
}

export interface Parts {
  readonly hostname: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly program: {
    readonly args: readonly string[];
    readonly env: readonly string[];
    readonly cwd: string;
    readonly terminal: boolean;
    readonly noNewPrivileges: boolean;
    readonly capabilities: readonly string[];
    readonly user: object;
    readonly apparmor: string;
    readonly oomScoreAdj: number;
  };
  readonly readOnlyRoot: boolean;
  readonly mounts: readonly MountJson[];
  readonly storages: readonly object[];
  readonly sharedPid: boolean;
  readonly ownCgroups: boolean;
  readonly masked: readonly string[];
  readonly propagation: string;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly devices: readonly { readonly path: string; readonly id: string }[];
}

export function createContainer(
  id: string,
  sandboxId: string,
  type: "sandbox" | "container",
  image: string,
  cluster: Cluster,
  parts: Parts,
): Request {
  const { program } = parts;
  const annotations = {
    "io.katacontainers.pkg.oci.bundle_path": `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${id}`,
    "io.katacontainers.pkg.oci.container_type": type === "sandbox" ? "pod_sandbox" : "pod_container",
    "io.kubernetes.cri.container-type": type,
    "io.kubernetes.cri.sandbox-id": sandboxId,
    "io.kubernetes.cri.sandbox-name": cluster.podName,
    "io.kubernetes.cri.sandbox-namespace": cluster.namespace,
    "io.kubernetes.cri.sandbox-uid": cluster.uid,
    ...parts.annotations,
  };
  const rootfs = `/run/kata-containers/${id}/rootfs`;
  // The one in Go drops the namespace for cgroups (kata_agent.go, constrainGRPCSpec), which containerd asks for on nodes
  // with cgroup v2 where a container is not privileged; the one in Rust has the names of oci-spec's types.
  const namespaces =
    cluster.runtime === "go-shim"
      ? ["ipc", "uts", "mount"]
      : ["ipc", "uts", "mnt", ...(parts.ownCgroups && cluster.containerd !== "1.6" ? ["cgroup"] : [])];
  const capabilities =
    cluster.runtime === "go-shim"
      ? program.capabilities
      : program.capabilities.map((name) => name.slice("CAP_".length));
  return {
    kind: "CreateContainerRequest",
    request: {
      container_id: id,
      // runtime-rs, common/src/types: the process of the container has no name.
      exec_id: cluster.runtime === "go-shim" ? id : "",
      string_user: null,
      devices: parts.devices.map(({ path, id: device }) => {
        return { id: device, type_: "blk", vm_path: "", container_path: path, options: [] };
      }),
      storages: [
        {
          driver: "image_guest_pull",
          driver_options: [`image_guest_pull=${JSON.stringify({ metadata: annotations })}`],
          source: image,
          fstype: "overlay",
          options: [],
          mount_point: rootfs,
          fs_group: null,
          shared: false,
        },
        ...parts.storages,
      ],
      OCI: {
        Version: "1.1.0",
        Process: {
          Terminal: program.terminal,
          ConsoleSize: null,
          User: program.user,
          Args: program.args,
          Env: program.env,
          Cwd: program.cwd,
          Capabilities: {
            Bounding: capabilities,
            Effective: capabilities,
            Inheritable: [],
            Permitted: capabilities,
            Ambient: [],
          },
          Rlimits: [],
          NoNewPrivileges: program.noNewPrivileges,
          ApparmorProfile: program.apparmor,
          OOMScoreAdj: program.oomScoreAdj,
          SelinuxLabel: "",
        },
        Root: { Path: rootfs, Readonly: parts.readOnlyRoot },
        Hostname: parts.hostname,
        Mounts: parts.mounts,
        Hooks: null,
        Annotations: annotations,
        Linux: {
          UIDMappings: [],
          GIDMappings: [],
          Sysctl: parts.sysctls,
          Resources: {
            Devices: [],
            Memory:
              type === "sandbox"
                ? null
                : {
                    Limit: 134217728,
                    Reservation: 0,
                    Swap: 134217728,
                    Kernel: 0,
                    KernelTCP: 0,
                    Swappiness: 0,
                    DisableOOMKiller: false,
                  },
            CPU: { Shares: 102, Quota: 0, Period: 100000, RealtimeRuntime: 0, RealtimePeriod: 0, Cpus: "", Mems: "" },
            Pids: null,
            BlockIO: null,
            HugepageLimits: [],
            Network: null,
          },
          CgroupsPath: `kubepods-burstable-pod${cluster.uid}.slice:cri-containerd:${id}`,
          Namespaces: namespaces.map((Type) => ({ Type, Path: "" })),
          Devices: parts.devices.map(({ path }) => {
            return { Path: path, Type: "b", Major: 8, Minor: 16, FileMode: 0o660, UID: 0, GID: 6 };
          }),
          Seccomp: null,
          RootfsPropagation: parts.propagation,
          MaskedPaths: parts.masked,
          ReadonlyPaths:
            parts.masked.length > 0 ? ["bus", "fs", "irq", "sys", "sysrq-trigger"].map((name) => `/proc/${name}`) : [],
          MountLabel: "",
          IntelRdt: null,
        },
        Solaris: null,
        Windows: null,
      },
      sandbox_pidns: parts.sharedPid,
      shared_mounts: [],
      stdin_port: 0,
      stdout_port: 0,
      stderr_port: 0,
    },
  };
}
