import { ManifestError } from "../manifest/error.ts";
import { policyHash, regoOf } from "../manifest/initdata.ts";
import type { Fault } from "../runtime/fault.ts";
import { collectWorkloads, placeOf } from "../kubernetes/collect-workloads.ts";
import { ResourceError } from "../kubernetes/error.ts";
import { hasPolicy, policyDocument } from "./policy-annotation.ts";
import type { NamedKind } from "../kubernetes/kinds.ts";
import { isSidecar } from "../kubernetes/pod-limits.ts";
import { findOtherPods } from "../kubernetes/other-pods.ts";
import { readResourceFiles, type ResourceFile } from "../kubernetes/resource-file.ts";

/** The policy of a pod, as its annotation holds it. */
export interface CollectedPolicy {
  /** SHA-256 of the document, 64 hexadecimal digits. */
  readonly hash: string;
  /** Initdata: what the Coordinator stores. */
  readonly document: Buffer;
  /** Of the workload. */
  readonly kind: string;
  readonly name: string;
  /** Undefined: the namespace that it is applied to. */
  readonly namespace: string | undefined;
  readonly file: string;
  /** The names of the pod's init containers, and of those among them that stay. */
  readonly initContainers: readonly string[];
  readonly sidecars: readonly string[];
  /** `file:line:column` of the workload. */
  readonly where: string;
}

/**
 * The policies of files that `generate` has been at.
 *
 * @param paths files, and folders of them
 * @throws ResourceError
 */
export async function collectPolicies(paths: readonly string[]): Promise<CollectedPolicy[]> {
  const faults: Fault[] = [];
  const files = await readResourceFiles(paths);
  const policies = collectWorkloads(files, preparedKinds(files)).flatMap((workload) => {
    const document = policyDocument(workload);
    const where = placeOf(workload);
    const damage = document === undefined ? "a pod without a policy" : damageOf(document);
    if (damage !== undefined) faults.push({ where, got: damage, want: "a policy; run `contrast generate`" });
    if (document === undefined || damage !== undefined) return [];
    const { kind, name, namespace, file, template } = workload;
    const containers = template.spec.initContainers ?? [];
    const initContainers = containers.map((container) => container.name);
    const sidecars = containers.filter(isSidecar).map((container) => container.name);
    const names = { kind, name, namespace, file: file.path };
    return [{ hash: policyHash(document), document, ...names, initContainers, sidecars, where }];
  });
  if (faults.length > 0) throw new ResourceError("invalid_annotation", "the pods lack what `generate` writes", faults);
  return policies;
}

/** The kinds beside those of Kubernetes whose pods `generate` has given a policy, whoever named them to it. */
function preparedKinds(files: readonly ResourceFile[]): NamedKind[] {
  const kinds = new Map<string, NamedKind>();
  for (const file of files) {
    for (const { kind, group, document, path, template } of findOtherPods(file)) {
      if (template === undefined) continue;
      const pod = path.slice(0, -2).reduce<unknown>((value, step) => Object(value)[step], file.values[document]);
      const { metadata } = Object(pod) as { metadata?: { annotations?: Record<string, string> } | null };
      if (hasPolicy(metadata?.annotations)) {
        kinds.set(`${kind}=${template.join(".")}`, { group, kind: kind.slice(group.length + 1), template });
      }
    }
  }
  return [...kinds.values()];
}

/** @returns what is wrong with the document, or undefined */
function damageOf(document: Buffer): string | undefined {
  try {
    regoOf(document);
    return undefined;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    return `a damaged policy, ${error.where ?? ""}: ${error.got ?? error.message}`;
  }
}
