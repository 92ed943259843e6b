import { policyHash } from "../../manifest/initdata.ts";
import { workloadId } from "./edit-pods.ts";
import { GenerateError } from "./error.ts";
import { policyDocument } from "./policy-annotation.ts";
import { readResourceFiles } from "./resource-file.ts";
import { findWorkloads } from "./workloads.ts";

/**
 * The hashes of the policies in a file that an earlier run wrote, by the workload: what `generate -o` is given has no
 * annotations of its own. What can't be read is about to be replaced, and says nothing.
 */
export async function earlierPolicies(path: string | undefined): Promise<ReadonlyMap<string, string>> {
  if (path === undefined) return new Map();
  try {
    const workloads = (await readResourceFiles([path])).flatMap((file) => findWorkloads(file, []));
    return new Map(
      workloads.flatMap((workload): [string, string][] => {
        const document = policyDocument(workload);
        return document === undefined ? [] : [[workloadId(workload), policyHash(document)]];
      }),
    );
  } catch (error) {
    if (error instanceof GenerateError) return new Map();
    throw error;
  }
}
