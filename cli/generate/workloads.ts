import type { Fault } from "../../runtime/environment.ts";
import type { JsonPath } from "../../manifest/json.ts";
import { faultsOf } from "../../manifest/schema.ts";
import { type PodTemplate, podTemplateSchema, workloadSchema } from "./pod-spec.ts";
import { fieldIn, placeIn, type ResourceFile, type TreePath } from "./resource-file.ts";

/** A resource that makes pods in confidential VMs. */
export interface Workload {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  /** Undefined: the namespace that it is applied to. */
  readonly namespace: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** A part of the file's values, to be changed in place. */
  readonly template: PodTemplate;
  readonly file: ResourceFile;
  /** Number of the document, from 0. */
  readonly document: number;
  /** Of the resource and of its pod template, in the document. */
  readonly path: TreePath;
  readonly templatePath: TreePath;
}

/** API group and the way to the pod template, by kind. */
const KINDS: ReadonlyMap<string, { readonly group: string; readonly template: TreePath }> = new Map([
  ["Pod", { group: "", template: [] }],
  ["ReplicationController", { group: "", template: ["spec", "template"] }],
  ["Deployment", { group: "apps", template: ["spec", "template"] }],
  ["StatefulSet", { group: "apps", template: ["spec", "template"] }],
  ["DaemonSet", { group: "apps", template: ["spec", "template"] }],
  ["ReplicaSet", { group: "apps", template: ["spec", "template"] }],
  ["Job", { group: "batch", template: ["spec", "template"] }],
  ["CronJob", { group: "batch", template: ["spec", "jobTemplate", "spec", "template"] }],
]);

const RUNTIME_CLASS_PREFIX = "contrast-cc";

/**
 * The workloads of a file whose pods ask for a confidential VM, those in lists too, in the order of the file.
 *
 * @param faults what is wrong with them is added here; a workload with a fault is left out
 */
export function findWorkloads(file: ResourceFile, faults: Fault[]): Workload[] {
  return file.values.flatMap((value, document) => {
    return resources(value, []).flatMap(({ resource, path }) => {
      const kind = KINDS.get(String(resource["kind"]));
      const [group = ""] = String(resource["apiVersion"]).split("/").slice(0, -1);
      if (kind === undefined || kind.group !== group) return [];
      const templatePath = [...path, ...kind.template];
      const template = at(value, templatePath);
      const runtimeClass = at(template, ["spec", "runtimeClassName"]);
      if (typeof runtimeClass !== "string" || !runtimeClass.startsWith(RUNTIME_CLASS_PREFIX)) return [];
      const where = (base: TreePath) => (inner: JsonPath) => {
        const field = [...base, ...(inner as TreePath)];
        return `${placeIn(file, document, field)}, ${fieldIn(field)}`;
      };
      const checked = workloadSchema.safeParse(resource);
      const { error } = podTemplateSchema.safeParse(template);
      if (checked.error !== undefined) faults.push(...faultsOf(checked.error, resource, where(path)));
      if (error !== undefined) faults.push(...faultsOf(error, template, where(templatePath)));
      if (checked.data === undefined || error !== undefined) return [];
      const { apiVersion, metadata } = checked.data;
      return [
        {
          apiVersion,
          kind: checked.data.kind,
          name: metadata.name,
          namespace: metadata.namespace ?? undefined,
          annotations: metadata.annotations ?? {},
          template: template as PodTemplate,
          file,
          document,
          path,
          templatePath,
        },
      ];
    });
  });
}

interface Resource {
  readonly resource: Readonly<Record<string, unknown>>;
  readonly path: TreePath;
}

function resources(value: unknown, path: TreePath): Resource[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  const resource = value as Readonly<Record<string, unknown>>;
  const { kind, items } = resource;
  if (kind !== "List" || !Array.isArray(items)) return [{ resource, path }];
  return items.flatMap((item: unknown, index) => resources(item, [...path, "items", index]));
}

function at(value: unknown, path: TreePath): unknown {
  return path.reduce((inner, step) => (Object(inner) as Readonly<Record<string | number, unknown>>)[step], value);
}
