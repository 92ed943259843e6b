import type { ResourceFile } from "./resource-file.ts";
import { resources, type Workload } from "./workloads.ts";

/** A Service that chooses its pods by their labels. */
export interface Service {
  readonly name: string;
  /** Undefined: the namespace that it is applied to. */
  readonly namespace: string | undefined;
  readonly selector: Readonly<Record<string, unknown>>;
}

export function findServices(files: readonly ResourceFile[]): Service[] {
  return files.flatMap(({ values }) =>
    values.flatMap((value) =>
      resources(value, []).flatMap(({ resource }) => {
        if (resource["kind"] !== "Service" || resource["apiVersion"] !== "v1") return [];
        const { name, namespace } = Object(resource["metadata"]) as Readonly<Record<string, unknown>>;
        const { selector } = Object(resource["spec"]) as Readonly<Record<string, unknown>>;
        const labels = Object(selector) as Readonly<Record<string, unknown>>;
        if (Object.keys(labels).length === 0) return [];
        return [
          { name: String(name), namespace: typeof namespace === "string" ? namespace : undefined, selector: labels },
        ];
      }),
    ),
  );
}

/** Whether a Service leads to the workload's pods. */
export function selects({ namespace, selector }: Service, workload: Workload): boolean {
  const labels = Object(workload.template.metadata?.["labels"]) as Readonly<Record<string, unknown>>;
  return (
    (namespace ?? "default") === (workload.namespace ?? "default") &&
    Object.entries(selector).every(([name, value]) => labels[name] === value)
  );
}
