import type { Fault } from "../runtime/fault.ts";
import type { JsonPath } from "../manifest/json.ts";
import { faultsOf } from "../manifest/schema.ts";
import { isRecord } from "./yaml/align.ts";
import { findKind, type NamedKind } from "./kinds.ts";
import { type PodTemplate, podTemplateSchema, workloadSchema } from "./pod-spec.ts";
import { fieldIn, placeIn, type ResourceFile, type TreePath } from "./resource-file.ts";

/** A resource that makes pods in confidential VMs. */
export interface Workload {
  readonly apiVersion: string;
  /** As `FoundKind.name` has it. */
  readonly kind: string;
  readonly name: string;
  /** Undefined: the namespace that it is applied to. */
  readonly namespace: string | undefined;
  /** A Job, or a CronJob's, with `completionMode: Indexed`: its pods have a number each. */
  readonly indexed: boolean;
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

/** Whether pods of this runtime class run in confidential VMs. */
export function isConfidential(runtimeClass: unknown): boolean {
  return typeof runtimeClass === "string" && runtimeClass.startsWith("contrast-cc");
}

/**
 * The workloads of a file whose pods ask for a confidential VM, those in lists too, in the order of the file.
 *
 * @param faults what is wrong with them is added here; a workload with a fault is left out
 * @param named kinds beside those of Kubernetes
 */
export function findWorkloads(file: ResourceFile, faults: Fault[], named: readonly NamedKind[] = []): Workload[] {
  return file.values.flatMap((value, document) => {
    return resources(value, []).flatMap(({ resource, path }) => {
      const kind = findKind(resource["apiVersion"], resource["kind"], named);
      if (kind === undefined) return [];
      const templatePath = [...path, ...kind.template];
      const template = at(value, templatePath);
      if (!isConfidential(at(template, ["spec", "runtimeClassName"]))) return [];
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
          kind: kind.name,
          name: metadata.name,
          namespace: metadata.namespace ?? undefined,
          indexed:
            kind.name.endsWith("Job") && at(value, [...templatePath.slice(0, -1), "completionMode"]) === "Indexed",
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

/** A resource in a document. */
export interface Resource {
  readonly resource: Readonly<Record<string, unknown>>;
  readonly path: TreePath;
}

/** A resource, or those of a `List` or of a typed list, whose items need not say again what they are. */
export function resources(value: unknown, path: TreePath): Resource[] {
  if (!isRecord(value)) return [];
  const { apiVersion, kind, items } = value;
  if (typeof kind !== "string" || !kind.endsWith("List") || !Array.isArray(items)) return [{ resource: value, path }];
  const itemKind = kind.slice(0, -"List".length);
  return items.flatMap((item: unknown, index) => {
    const isTyped = isRecord(item) && (itemKind === "" || item["kind"] !== undefined);
    return resources(isTyped ? item : { apiVersion, kind: itemKind, ...Object(item) }, [...path, "items", index]);
  });
}

function at(value: unknown, path: TreePath): unknown {
  return path.reduce((inner, step) => (Object(inner) as Readonly<Record<string | number, unknown>>)[step], value);
}
