import type { Container, EnvironmentVariable } from "../../kubernetes/pod-spec.ts";
import { ownCommand, ownImage, type OwnProgram } from "../../policy/own-images.ts";
import { KNOWN, nameableByServices } from "../../runtime/environment.ts";

/**
 * A container that `generate` puts into a pod, and finds again by its name. Image, command and its own variables are
 * those of this version; everything else is a default, and stays as a user changed it.
 */
export interface OwnContainer {
  readonly name: string;
  readonly program: OwnProgram;
  /** Behind the program's name. */
  readonly words?: readonly string[];
  /** Text, or where the cluster takes the value from. */
  readonly variables: Readonly<Record<string, string | Omit<EnvironmentVariable, "name">>>;
  /** Variables that are taken away where they are not wanted any more. */
  readonly ownedVariables: readonly string[];
  readonly user: number;
  /** All rights in the VM. Kubernetes then takes neither a ban on new privileges nor single capabilities. */
  readonly privileged?: true;
  /** Of `FILTER_CAPABILITIES`, those that the container needs: the others are taken away. */
  readonly capabilities: readonly string[];
  readonly defaults: Partial<Container>;
}

/**
 * uid 0, because Kubernetes gives capabilities to no other user, because the directories of configfs-tsm belong to it,
 * and because the mesh proxy has to read what the Initializer writes. Without its capabilities it is a user like others.
 */
export const ROOT = 0;

/** The user of our images, for containers that need nothing of root's. */
export const PLAIN_USER = 65_532;

/** A new object each time: YAML would make aliases of equal ones. */
const security = (before: Container | undefined, wanted: OwnContainer): Container["securityContext"] => ({
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  seccompProfile: { type: "RuntimeDefault" },
  ...before?.securityContext,
  runAsUser: wanted.user,
  runAsNonRoot: wanted.user !== ROOT,
  capabilities: capabilities(before, wanted),
});

const privileged = ({ user }: OwnContainer): Container["securityContext"] => ({
  privileged: true,
  readOnlyRootFilesystem: true,
  runAsUser: user,
  runAsNonRoot: user !== ROOT,
});

/**
 * `kubectl describe` shows the last lines of the log of a container that failed. The file for such messages is in the VM,
 * and a guest without shared files never gives it to the kubelet.
 */
const DEFAULTS = { terminationMessagePolicy: "FallbackToLogsOnError" };

/** @param before the container as it stands in the file, if it does */
export function ownContainer(before: Container | undefined, wanted: OwnContainer): Container {
  const owned = {
    name: wanted.name,
    image: ownImage(wanted.program),
    command: [...ownCommand(wanted.program), ...(wanted.words ?? [])],
    env: environment(before?.env ?? [], wanted),
    securityContext: wanted.privileged === true ? privileged(wanted) : security(before, wanted),
  };
  return { ...owned, ...DEFAULTS, ...wanted.defaults, ...before, ...owned };
}

/**
 * What the rules of a packet filter take. NET_RAW is for iptables-legacy, by which guest images deny: whether they do, the
 * program sees only in the guest.
 */
export const FILTER_CAPABILITIES: readonly string[] = ["NET_ADMIN", "NET_RAW"];

/** @returns the container, which is then no longer in the list */
export function take(containers: Container[], name: string): Container | undefined {
  const index = containers.findIndex((container) => container.name === name);
  return index < 0 ? undefined : containers.splice(index, 1)[0];
}

/** What is wanted, and what the user added. */
function capabilities(before: Container | undefined, wanted: OwnContainer): { drop: string[]; add?: string[] } {
  const { drop, add, ...others } = before?.securityContext?.capabilities ?? {};
  const added = (add ?? []).filter((name) => !FILTER_CAPABILITIES.includes(name) || wanted.capabilities.includes(name));
  const all = [...new Set([...added, ...wanted.capabilities])];
  return { ...others, drop: drop ?? ["ALL"], ...(all.length > 0 && { add: all }) };
}

function environment(before: readonly EnvironmentVariable[], wanted: OwnContainer): EnvironmentVariable[] {
  const { ownedVariables } = wanted;
  const variables = { ...wanted.variables, ...closedToServices(before, wanted) };
  const kept = before
    .filter(({ name }) => Object.hasOwn(variables, name) || !ownedVariables.includes(name))
    .map((variable) => {
      const value = variables[variable.name];
      return value === undefined ? variable : stated(variable.name, value);
    });
  const missing = Object.entries(variables).filter(([name]) => !kept.some((variable) => variable.name === name));
  return [...kept, ...missing.map(([name, value]) => stated(name, value))];
}

/**
 * Empty variables in place of those that the kubelet would set for a Service named `contrast-admin`, which anybody in the
 * namespace may create. The kubelet sets none that the container states, and the policy pins it.
 */
function closedToServices(
  before: readonly EnvironmentVariable[],
  { variables, ownedVariables }: OwnContainer,
): Record<string, string> {
  const isUsers = (name: string): boolean =>
    !ownedVariables.includes(name) && before.some((variable) => variable.name === name);
  const names = nameableByServices(KNOWN).filter((name) => !Object.hasOwn(variables, name) && !isUsers(name));
  return Object.fromEntries(names.map((name) => [name, ""]));
}

/**
 * An API server drops an empty value, and `kubectl apply` would find a difference each time. A variable without a value
 * is set and empty.
 */
function stated(name: string, value: string | Omit<EnvironmentVariable, "name">): EnvironmentVariable {
  if (typeof value !== "string") return { name, ...value };
  return value === "" ? { name } : { name, value };
}
