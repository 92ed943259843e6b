import { policyHash } from "../../manifest/initdata.ts";
import { workloadId } from "../../kubernetes/collect-workloads.ts";
import { ResourceError } from "../../kubernetes/error.ts";
import type { NamedKind } from "../../kubernetes/kinds.ts";
import { policyDocument } from "../../policy/policy-annotation.ts";
import { readResourceFiles } from "../../kubernetes/resource-file.ts";
import { findWorkloads } from "../../kubernetes/workloads.ts";

/**
 * The hashes of the policies in a file that an earlier run wrote, by the workload: what `generate -o` is given has no
 * annotations of its own. What can't be read is about to be replaced, and says nothing.
 */
export async function earlierPolicies(
  path: string | undefined,
  kinds: readonly NamedKind[] = [],
): Promise<ReadonlyMap<string, string>> {
  if (path === undefined) return new Map();
  try {
    const workloads = (await readResourceFiles([path])).flatMap((file) => findWorkloads(file, [], kinds));
    return new Map(
      workloads.flatMap((workload): [string, string][] => {
        const document = policyDocument(workload);
        return document === undefined ? [] : [[workloadId(workload), policyHash(document)]];
      }),
    );
  } catch (error) {
    if (error instanceof ResourceError) return new Map();
    throw error;
  }
}
