import { isRecord } from "./yaml/align.ts";
import { findKind, groupOf, type NamedKind } from "./kinds.ts";
import type { ResourceFile, TreePath } from "./resource-file.ts";
import { isConfidential, resources } from "./workloads.ts";

/** What asks for a confidential VM, at a place where nobody looks for a pod. */
export interface OtherPod {
  /** `argoproj.io/Rollout`, or `Deployment`; of a resource that has both fields. */
  readonly kind: string;
  readonly group: string;
  readonly document: number;
  /** Of `runtimeClassName`, in the document. */
  readonly path: TreePath;
  /**
   * The way from the resource to its pod template, where `NamedKind` can name it: the kind is not Kubernetes' own, and the
   * pod's spec is the field `spec` of something, outside of all lists.
   */
  readonly template: readonly string[] | undefined;
}

/** All `runtimeClassName: contrast-cc…` of a file's resources that are not the pods of known kinds. */
export function findOtherPods(file: ResourceFile, named: readonly NamedKind[] = []): OtherPod[] {
  return file.values.flatMap((value, document) => {
    return resources(value, []).flatMap(({ resource, path }): OtherPod[] => {
      const { apiVersion, kind } = resource;
      if (typeof apiVersion !== "string" || typeof kind !== "string") return [];
      const known = findKind(apiVersion, kind, named);
      const own = known === undefined ? undefined : JSON.stringify([...known.template, "spec", CLASS]);
      const group = groupOf(apiVersion);
      const isOwn = group === "" || findKind(apiVersion, kind) !== undefined;
      return classPaths(resource)
        .filter((inner) => JSON.stringify(inner) !== own)
        .map((inner) => ({
          kind: isOwn ? kind : `${group}/${kind}`,
          group,
          document,
          path: [...path, ...inner],
          template: isOwn ? undefined : templateOf(inner),
        }));
    });
  });
}

/** Whether a document has a resource that makes pods, or something that looks like a pod's spec. */
export function holdsPods(value: unknown, named: readonly NamedKind[] = []): boolean {
  return resources(value, []).some(({ resource }) => {
    return findKind(resource["apiVersion"], resource["kind"], named) !== undefined || hasPodSpec(resource);
  });
}

const CLASS = "runtimeClassName";

function classPaths(value: unknown): TreePath[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]): TreePath[] => {
    if (key === CLASS && !Array.isArray(value)) return isConfidential(inner) ? [[key]] : [];
    const step = Array.isArray(value) ? Number(key) : key;
    return classPaths(inner).map((path) => [step, ...path]);
  });
}

function templateOf(path: TreePath): readonly string[] | undefined {
  const steps = path.slice(0, -2).filter((step) => typeof step === "string" && /^[\w-]+$/.test(step)) as string[];
  return steps.length > 0 && steps.length === path.length - 2 && path.at(-2) === "spec" ? steps : undefined;
}

function hasPodSpec(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { containers, [CLASS]: runtimeClass } = value as Readonly<Record<string, unknown>>;
  const hasImages = Array.isArray(containers) && containers.some((item) => isRecord(item) && "image" in item);
  return hasImages || isConfidential(runtimeClass) || Object.values(value).some(hasPodSpec);
}
