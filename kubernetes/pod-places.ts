import { fieldIn, placeIn, type TreePath } from "./resource-file.ts";
import type { Workload } from "./workloads.ts";

/** Where the parts of a pod stand in its file: `file:line:column, field`, also after something was put into it. */
export interface PodPlaces {
  /** @param path below the pod's spec */
  readonly at: (...path: TreePath) => string;
  /** @param path below the container of this name */
  readonly of: (container: string, ...path: TreePath) => string;
  readonly annotation: (name: string) => string;
  /** Of the resource itself. */
  readonly workload: string;
}

/** @param workload as it stands in the file */
export function podPlaces(workload: Workload): PodPlaces {
  const { file, document, path, templatePath, template, annotations } = workload;
  const spec = [...templatePath, "spec"];
  const containers = new Map<string, TreePath>();
  for (const field of ["initContainers", "containers"] as const) {
    for (const [index, { name }] of (template.spec[field] ?? []).entries()) containers.set(name, [field, index]);
  }
  const field = (fieldPath: TreePath): string => `${placeIn(file, document, fieldPath)}, ${fieldIn(fieldPath)}`;
  // Found out only for those who ask: the document is composed anew for its places.
  const place = (): string => placeIn(file, document, path);
  return {
    get workload() {
      return place();
    },
    at: (...inner) => field([...spec, ...inner]),
    of: (name, ...inner) => {
      const container = containers.get(name);
      // One that `generate` is about to put in stands nowhere.
      return container === undefined ? `${place()}, container ${name}` : field([...spec, ...container, ...inner]);
    },
    annotation: (name) => {
      const inTemplate = Object.hasOwn(template.metadata?.annotations ?? {}, name);
      const inResource = Object.hasOwn(annotations, name);
      if (!inTemplate && !inResource) return place();
      return `${placeIn(file, document, [...(inTemplate ? templatePath : path), "metadata", "annotations", name])}, ${name}`;
    },
  };
}
