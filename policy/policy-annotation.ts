import { ManifestError } from "../manifest/error.ts";
import { fromAnnotation, INITDATA_ANNOTATION, policyHash, toAnnotation } from "../manifest/initdata.ts";
import { quote } from "../runtime/fault.ts";
import { ResourceError } from "../kubernetes/error.ts";
import { placeIn } from "../kubernetes/resource-file.ts";
import type { Workload } from "../kubernetes/workloads.ts";

/** The annotation of a pod template by which its policy gets into the VM. */

/**
 * @returns the initdata document of a pod that `generate` has been at; undefined: it has not
 * @throws ResourceError invalid_annotation
 */
export function policyDocument({ template, file, document, templatePath }: Workload): Buffer | undefined {
  const text = template.metadata?.annotations?.[INITDATA_ANNOTATION];
  if (text === undefined) return undefined;
  try {
    return fromAnnotation(text);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const place = placeIn(file, document, [...templatePath, "metadata", "annotations", INITDATA_ANNOTATION]);
    const { got = quote(text), want = "what `contrast generate` wrote" } = error;
    const fault = { where: `${place}, ${INITDATA_ANNOTATION}`, got, want };
    throw new ResourceError("invalid_annotation", "the annotation holds no policy", [fault]);
  }
}

/** @returns the hash of the policy that was there */
export function setPolicy({ template }: Workload, document: Buffer): string | undefined {
  const text = template.metadata?.annotations?.[INITDATA_ANNOTATION];
  template.metadata = {
    ...template.metadata,
    annotations: { ...template.metadata?.annotations, [INITDATA_ANNOTATION]: toAnnotation(document) },
  };
  if (text === undefined) return undefined;
  try {
    return policyHash(fromAnnotation(text));
  } catch {
    // Whatever it was, it is no policy, and it is replaced.
    return undefined;
  }
}
