import { ManifestError } from "../../manifest/error.ts";
import { policyHash, regoOf } from "../../manifest/initdata.ts";
import type { Fault } from "../../runtime/environment.ts";
import { collectWorkloads, placeOf } from "./edit-pods.ts";
import { GenerateError } from "./error.ts";
import { policyDocument } from "./policy-annotation.ts";
import { readResourceFiles } from "./resource-file.ts";

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
  /** `file:line:column` of the workload. */
  readonly where: string;
}

/**
 * The policies of files that `generate` has been at.
 *
 * @param paths files, and folders of them
 * @throws GenerateError
 */
export async function collectPolicies(paths: readonly string[]): Promise<CollectedPolicy[]> {
  const faults: Fault[] = [];
  const policies = collectWorkloads(await readResourceFiles(paths)).flatMap((workload) => {
    const document = policyDocument(workload);
    const where = placeOf(workload);
    const damage = document === undefined ? "a pod without a policy" : damageOf(document);
    if (damage !== undefined) faults.push({ where, got: damage, want: "a policy; run `contrast generate`" });
    if (document === undefined || damage !== undefined) return [];
    const { kind, name, namespace, file } = workload;
    return [{ hash: policyHash(document), document, kind, name, namespace, file: file.path, where }];
  });
  if (faults.length > 0) throw new GenerateError("invalid_annotation", "the pods lack what `generate` writes", faults);
  return policies;
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
