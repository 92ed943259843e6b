import { ManifestError } from "../../manifest/error.ts";
import { policyHash, regoOf } from "../../manifest/initdata.ts";
import { collectWorkloads, placeOf, policyDocument } from "./edit-pods.ts";
import { GenerateError } from "./error.ts";
import { readResourceFiles } from "./resource-file.ts";

/** The policy of a pod, as its annotation holds it. */
export interface CollectedPolicy {
  /** SHA-256 of the document, 64 hexadecimal digits. */
  readonly hash: string;
  /** Initdata: what the Coordinator stores. */
  readonly document: Buffer;
  /** Of the workload. */
  readonly name: string;
  readonly file: string;
}

/**
 * The policies of files that `generate` has been at.
 *
 * @param paths files, and folders of them
 * @throws GenerateError
 */
export async function collectPolicies(paths: readonly string[]): Promise<CollectedPolicy[]> {
  return collectWorkloads(await readResourceFiles(paths)).map((workload) => {
    const document = policyDocument(workload);
    const fault = {
      where: placeOf(workload),
      got: "a pod without a policy",
      want: "a policy; run `contrast generate`",
    };
    if (document === undefined) throw new GenerateError("invalid_annotation", "a pod has no policy", [fault]);
    try {
      regoOf(document);
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      const got = `${error.where}: ${error.got}`;
      throw new GenerateError("invalid_annotation", "a pod's policy is damaged", [{ ...fault, got }], error);
    }
    return { hash: policyHash(document), document, name: workload.name, file: workload.file.path };
  });
}
