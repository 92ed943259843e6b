import type { Fault } from "../../runtime/environment.ts";
import type { JsonPath } from "../../manifest/json.ts";
import { faultsOf } from "../../manifest/schema.ts";
import { isRecord } from "./align.ts";
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

const SPEC_TEMPLATE = ["spec", "template"];

/** The API groups, those of old clusters too, and the way to the pod template, by kind. */
const KINDS: ReadonlyMap<string, { readonly groups: readonly string[]; readonly template: TreePath }> = new Map([
  ["Pod", { groups: [""], template: [] }],
  ["ReplicationController", { groups: [""], template: SPEC_TEMPLATE }],
  ["Deployment", { groups: ["apps", "extensions"], template: SPEC_TEMPLATE }],
  ["StatefulSet", { groups: ["apps"], template: SPEC_TEMPLATE }],
  ["DaemonSet", { groups: ["apps", "extensions"], template: SPEC_TEMPLATE }],
  ["ReplicaSet", { groups: ["apps", "extensions"], template: SPEC_TEMPLATE }],
  ["Job", { groups: ["batch"], template: SPEC_TEMPLATE }],
  ["CronJob", { groups: ["batch"], template: ["spec", "jobTemplate", ...SPEC_TEMPLATE] }],
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
      if (kind?.groups.includes(group) !== true) return [];
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

/** A resource, or those of a `List` or of a typed list, whose items need not say again what they are. */
function resources(value: unknown, path: TreePath): Resource[] {
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
