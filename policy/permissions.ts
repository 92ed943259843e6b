/** What a policy may permit the host beside what every pod needs, and what that means. */
export const PERMISSIONS = {
  "debug-shell": "run any command in the pod's containers, with a terminal and with input",
  exec: "run any command in the pod's containers",
  logs: "read what the pod's programs print",
} as const;
export type Permission = keyof typeof PERMISSIONS;

/**
 * Without `logs` a program stops under Kata's runtime-rs when it has printed 64 KiB: the agent answers with nothing, and
 * the runtime takes that for the end (kata-containers 4.1.0, src/agent/src/rpc.rs, read_stdout; src/runtime-rs,
 * process.rs, run_io_copy). The runtime in Go reads on.
 */
const DEFAULTS: readonly Permission[] = ["logs"];

export interface PermissionChanges {
  readonly allow: readonly Permission[];
  /** Goes before what is allowed. */
  readonly deny: readonly Permission[];
}

/** @returns sorted, each once, with what others include */
export function permissionsOf(...changes: readonly PermissionChanges[]): Permission[] {
  const allowed = [...DEFAULTS, ...changes.flatMap(({ allow }) => allow)];
  const all = new Set<Permission>(allowed.includes("debug-shell") ? [...allowed, "exec"] : allowed);
  for (const permission of changes.flatMap(({ deny }) => deny)) all.delete(permission);
  return [...all].toSorted();
}

/** Those that nobody needs to run a pod: they have to be seen by whoever trusts it. */
export function unusualPermissions(permissions: readonly Permission[]): Permission[] {
  return permissions.filter((permission) => !DEFAULTS.includes(permission));
}

/** @returns undefined where a name is not known */
export function parsePermissions(text: string): Permission[] | undefined {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const known = names.filter((name): name is Permission => Object.hasOwn(PERMISSIONS, name));
  return known.length === names.length ? known : undefined;
}

/** For messages: `debug-shell, exec or logs`. */
export const PERMISSION_NAMES = Object.keys(PERMISSIONS)
  .join(", ")
  .replace(/, ([^,]*)$/, " or $1");
