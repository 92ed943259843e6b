import { basename } from "node:path";
import { fieldIn, placeIn, type ResourceFile, type TreePath } from "../../../kubernetes/resource-file.ts";
import { resources, type Workload } from "../../../kubernetes/workloads.ts";

/** A place that says how many pods of a workload run at once. */
export interface Count {
  readonly count: number | "one for each node";
  readonly where: string;
}

type Loose = Readonly<Record<string, unknown>>;

/** What the resource itself says, and what changes it: autoscalers, patches and kustomizations among the files. */
export function countsOf(workload: Workload, files: readonly ResourceFile[]): Count[] {
  return [...ownCount(workload), ...files.flatMap((file) => otherCounts(workload, file))];
}

function ownCount(workload: Workload): Count[] {
  const { file, document, path, kind } = workload;
  if (kind === "DaemonSet") return [{ count: "one for each node", where: placeIn(file, document, path) }];
  return counted(file, document, [...path, "spec", "replicas"]);
}

function otherCounts(workload: Workload, file: ResourceFile): Count[] {
  const kind = workload.kind.split(".", 1)[0];
  return file.values.flatMap((value, document) =>
    resources(value, []).flatMap(({ resource, path }): Count[] => {
      if (isKustomization(resource, file)) {
        const replicas = Array.isArray(resource["replicas"]) ? (resource["replicas"] as unknown[]) : [];
        return replicas.flatMap((entry, index) =>
          record(entry)["name"] === workload.name ? counted(file, document, [...path, "replicas", index, "count"]) : [],
        );
      }
      const { name, namespace } = record(resource["metadata"]);
      if ((namespace ?? workload.namespace) !== workload.namespace) return [];
      const spec = record(resource["spec"]);
      if (resource["kind"] === "HorizontalPodAutoscaler") {
        const target = record(spec["scaleTargetRef"]);
        const isIts = target["kind"] === kind && target["name"] === workload.name;
        return isIts ? counted(file, document, [...path, "spec", "maxReplicas"]) : [];
      }
      // Of the same name but without a template: a patch.
      const isPatch = resource["kind"] === kind && name === workload.name && spec["template"] === undefined;
      return isPatch ? counted(file, document, [...path, "spec", "replicas"]) : [];
    }),
  );
}

function isKustomization({ kind, apiVersion }: Loose, { path }: ResourceFile): boolean {
  const isNamed = ["kustomization.yaml", "kustomization.yml", "Kustomization"].includes(basename(path));
  return (
    kind === "Kustomization" || kind === "Component" || (isNamed && kind === undefined && apiVersion === undefined)
  );
}

function counted(file: ResourceFile, document: number, path: TreePath): Count[] {
  const value = path.reduce<unknown>((inner, step) => record(inner)[String(step)], file.values[document]);
  if (typeof value !== "number") return [];
  return [{ count: value, where: `${placeIn(file, document, path)}, ${fieldIn(path)}` }];
}

function record(value: unknown): Loose {
  return Object(value) as Loose;
}
