import type { Container } from "../kubernetes/pod-spec.ts";

/** Capabilities of a process, as the kernel names them, sorted. */

/** What containerd gives to every container (oci.defaultUnixCaps). */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

/** Those of Linux 5.9 and later (include/uapi/linux/capability.h): what `ALL` and `privileged` mean. */
const ALL_CAPABILITIES: readonly string[] = [
  ...DEFAULT_CAPABILITIES,
  "CAP_AUDIT_CONTROL",
  "CAP_AUDIT_READ",
  "CAP_BLOCK_SUSPEND",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
  "CAP_DAC_READ_SEARCH",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_LEASE",
  "CAP_LINUX_IMMUTABLE",
  "CAP_MAC_ADMIN",
  "CAP_MAC_OVERRIDE",
  "CAP_NET_ADMIN",
  "CAP_NET_BROADCAST",
  "CAP_PERFMON",
  "CAP_SYSLOG",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_MODULE",
  "CAP_SYS_NICE",
  "CAP_SYS_PACCT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_WAKE_ALARM",
];

/** As containerd does it: ALL first, then what is added by name, then what is dropped by name. */
export function capabilitiesOf({ securityContext }: Container): string[] {
  if (securityContext?.privileged === true) return ALL_CAPABILITIES.toSorted();
  const full = (name: string): string => (/^CAP_/i.test(name) ? name : `CAP_${name}`).toUpperCase();
  const add = (securityContext?.capabilities?.add ?? []).map(full);
  const drop = (securityContext?.capabilities?.drop ?? []).map(full);
  let capabilities = new Set(add.includes("CAP_ALL") ? ALL_CAPABILITIES : DEFAULT_CAPABILITIES);
  if (drop.includes("CAP_ALL")) capabilities = new Set();
  for (const name of add) if (name !== "CAP_ALL") capabilities.add(name);
  for (const name of drop) capabilities.delete(name);
  return [...capabilities].toSorted();
}
