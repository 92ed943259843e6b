import type { Container, EnvironmentVariable } from "./pod-spec.ts";
import { ownCommand, ownImage, type OwnProgram } from "./own-images.ts";

/**
 * A container that `generate` puts into a pod, and finds again by its name. Image, command and its own variables are
 * those of this version; everything else is a default, and stays as a user changed it.
 */
export interface OwnContainer {
  readonly name: string;
  readonly program: OwnProgram;
  readonly variables: Readonly<Record<string, string>>;
  /** Variables that are taken away where they are not wanted any more. */
  readonly ownedVariables: readonly string[];
  readonly capabilities: readonly string[];
  /** As `ownedVariables`. */
  readonly ownedCapabilities: readonly string[];
  readonly defaults: Partial<Container>;
}

/**
 * uid 0, because Kubernetes gives capabilities to no other user, because the directories of configfs-tsm belong to it,
 * and because the mesh proxy has to read what the Initializer writes. Without its capabilities it is a user like others.
 */
const SECURITY = { runAsUser: 0, runAsNonRoot: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true };

/** @param before the container as it stands in the file, if it does */
export function ownContainer(before: Container | undefined, wanted: OwnContainer): Container {
  const owned = {
    name: wanted.name,
    image: ownImage(wanted.program),
    command: ownCommand(wanted.program),
    env: environment(before?.env ?? [], wanted),
    securityContext: { ...SECURITY, ...before?.securityContext, capabilities: capabilities(before, wanted) },
  };
  return { ...owned, ...wanted.defaults, ...before, ...owned };
}

/** @returns the container, which is then no longer in the list */
export function take(containers: Container[], name: string): Container | undefined {
  const index = containers.findIndex((container) => container.name === name);
  return index < 0 ? undefined : containers.splice(index, 1)[0];
}

/** What is wanted, and what the user added. */
function capabilities(before: Container | undefined, wanted: OwnContainer): { drop: string[]; add?: string[] } {
  const { drop, add, ...others } = before?.securityContext?.capabilities ?? {};
  const added = (add ?? []).filter(
    (name) => !wanted.ownedCapabilities.includes(name) || wanted.capabilities.includes(name),
  );
  const all = [...new Set([...added, ...wanted.capabilities])];
  return { ...others, drop: drop ?? ["ALL"], ...(all.length > 0 && { add: all }) };
}

function environment(
  before: readonly EnvironmentVariable[],
  { variables, ownedVariables }: OwnContainer,
): EnvironmentVariable[] {
  const kept = before
    .filter(({ name }) => Object.hasOwn(variables, name) || !ownedVariables.includes(name))
    .map((variable) => {
      const value = variables[variable.name];
      return value === undefined ? variable : { name: variable.name, value };
    });
  const missing = Object.entries(variables).filter(([name]) => !kept.some((variable) => variable.name === name));
  return [...kept, ...missing.map(([name, value]) => ({ name, value }))];
}
