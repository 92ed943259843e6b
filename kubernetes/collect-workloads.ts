import type { Fault } from "../runtime/fault.ts";
import { type ResourceCode, ResourceError } from "./error.ts";
import type { NamedKind } from "./kinds.ts";
import { holdsPods } from "./other-pods.ts";
import { type Doubt, placeIn, type ResourceFile } from "./resource-file.ts";
import { findWorkloads, type Workload } from "./workloads.ts";

/**
 * The workloads of all files, each of them once.
 *
 * @param named kinds beside those of Kubernetes
 * @throws ResourceError malformed_yaml, invalid_resource, duplicate_workload, no_workloads
 */
export function collectWorkloads(files: readonly ResourceFile[], named: readonly NamedKind[] = []): Workload[] {
  const faults: Fault[] = doubtsOf(files, named, true);
  throwAny("malformed_yaml", "it is not certain what a workload says", faults);
  const workloads = files.flatMap((file) => findWorkloads(file, faults, named));
  throwAny("invalid_resource", "a workload is not what Kubernetes takes", faults);
  if (workloads.length === 0) {
    const where = files.map(({ path }) => path).join(", ") || "the given folders";
    throw new ResourceError("no_workloads", "there is nothing to do", [
      { where, got: "no pod for a confidential VM", want: "a pod with runtimeClassName: contrast-cc" },
    ]);
  }
  const seen = new Map<string, Workload>();
  for (const workload of workloads) {
    const { kind, namespace = "default", name } = workload;
    const id = `${kind} ${namespace}/${name}`;
    const other = seen.get(id);
    if (other === undefined) seen.set(id, workload);
    else faults.push({ where: placeOf(workload), got: `${id}, as at ${placeOf(other)}`, want: "every workload once" });
  }
  throwAny("duplicate_workload", "two documents describe the same workload", faults);
  return workloads;
}

/**
 * Places where it is not certain what files say.
 *
 * @param inPods those of documents that hold pods, or those of the others
 */
export function doubtsOf(files: readonly ResourceFile[], named: readonly NamedKind[], inPods: boolean): Doubt[] {
  return files.flatMap(({ documents, values }) => {
    return documents.flatMap(({ doubts }, index) => {
      return doubts.length > 0 && holdsPods(values[index], named) === inPods ? doubts : [];
    });
  });
}

/** `<apiVersion>/<kind>/<namespace>/<name>`: what a workload is called where only its own name is known. */
export function workloadId({ apiVersion, kind, namespace, name }: Workload): string {
  return `${apiVersion}/${kind.split(".", 1)[0] ?? kind}/${namespace ?? "default"}/${name}`;
}

export function placeOf({ file, document, path }: Workload): string {
  return placeIn(file, document, path);
}

function throwAny(code: ResourceCode, message: string, faults: readonly Fault[]): void {
  if (faults.length > 0) throw new ResourceError(code, message, faults);
}
