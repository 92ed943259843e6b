import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Container, EnvironmentVariable, PodSpec } from "../../kubernetes/pod-spec.ts";
import type { Workload } from "../../kubernetes/workloads.ts";

/**
 * The software TEE of a pod in a cluster without confidential VMs: a Secret for each pod, mounted where the Initializer or
 * the Coordinator finds it. It proves nothing about hardware: whoever reads the Secret can stand in for the pod.
 */
export const SIMULATED_TEE = { volume: "contrast-simulated-tee", mountPath: "/simulated-tee" } as const;

/** What a program is told of it. */
export const SIMULATED_VARIABLES: Readonly<Record<string, string>> = {
  CONTRAST_TEE: "simulated",
  CONTRAST_ALLOW_INSECURE: "1",
  CONTRAST_SIMULATED_TEE_DIR: SIMULATED_TEE.mountPath,
};

/** Workloads of several kinds may have one name. */
export function simulatedTeeSecret({ kind, name }: Pick<Workload, "kind" | "name">): string {
  return `contrast-simulated-tee-${kind.toLowerCase()}-${name}`;
}

/**
 * Mounts the Secret, or takes it away.
 *
 * @param pod is changed, and its containers
 * @param holders the containers that need it
 * @param secretName undefined: the platform has hardware
 */
export function mountSimulatedTee(pod: PodSpec, holders: readonly Container[], secretName: string | undefined): void {
  const { volume: name, mountPath } = SIMULATED_TEE;
  const others = (pod.volumes ?? []).filter((volume) => volume.name !== name);
  if (secretName !== undefined) pod.volumes = [...others, { name, secret: { secretName } }];
  else if (others.length < (pod.volumes ?? []).length) setOrDelete(pod, "volumes", others);
  for (const container of holders) {
    const mounts = (container.volumeMounts ?? []).filter((mount) => mount.name !== name);
    if (secretName !== undefined) container.volumeMounts = [...mounts, { name, mountPath, readOnly: true }];
    else if (mounts.length < (container.volumeMounts ?? []).length) setOrDelete(container, "volumeMounts", mounts);
  }
}

/** Tells the Coordinator of its software TEE, or takes that back. A TEE that its owner has named on hardware stays. */
export function tellOfSimulatedTee(container: Container, isSimulated: boolean): void {
  const isOwn = ({ name, value }: EnvironmentVariable): boolean =>
    Object.hasOwn(SIMULATED_VARIABLES, name) && (isSimulated || value === SIMULATED_VARIABLES[name]);
  const others = (container.env ?? []).filter((variable) => !isOwn(variable));
  const own = Object.entries(SIMULATED_VARIABLES).map(([name, value]) => ({ name, value }));
  if (isSimulated) container.env = [...others, ...own];
  else if (others.length < (container.env ?? []).length) setOrDelete(container, "env", others);
}

/** An API server keeps no empty list, and `kubectl apply` would find a difference each time. */
function setOrDelete<Key extends string, Item>(
  object: { [K in Key]?: Item[] | null | undefined },
  key: Key,
  items: Item[],
): void {
  if (items.length > 0) object[key] = items;
  else delete object[key];
}

/** The Secrets of the pods, as a file for `kubectl apply`. */
export async function simulatedTeeFile(
  pods: readonly { readonly workload: Workload; readonly vmDir: string }[],
): Promise<string> {
  const items = [];
  for (const { workload, vmDir } of pods) {
    const data: Record<string, string> = {};
    for (const file of (await readdir(vmDir)).toSorted())
      data[file] = (await readFile(join(vmDir, file))).toString("base64");
    const { namespace } = workload;
    items.push({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: simulatedTeeSecret(workload), ...(namespace !== undefined && { namespace }) },
      type: "Opaque",
      data,
    });
  }
  return `${JSON.stringify({ apiVersion: "v1", kind: "List", items }, undefined, 2)}\n`;
}
