import { ManifestError } from "../manifest/error.ts";
import { policyHash } from "../manifest/initdata.ts";
import {
  AKS_INITDATA_ANNOTATION,
  fromAnnotation,
  INITDATA_ANNOTATION,
  toAnnotation,
} from "../manifest/initdata-annotation.ts";
import { quote } from "../runtime/fault.ts";
import { ResourceError } from "../kubernetes/error.ts";
import { placeIn } from "../kubernetes/resource-file.ts";
import type { Workload } from "../kubernetes/workloads.ts";

/** The annotation of a pod template by which its policy gets into the VM. Each shim has a name of its own for it. */

const NAMES = [INITDATA_ANNOTATION, AKS_INITDATA_ANNOTATION] as const;

/** The annotations of a pod template, or of a resource that is one. */
type Annotations = Readonly<Record<string, string>> | null | undefined;

/** Whether a pod template has a policy. */
export function hasPolicy(annotations: Annotations): boolean {
  return NAMES.some((name) => Object.hasOwn(annotations ?? {}, name));
}

/** What the shim of the pod's runtime class reads. */
function nameFor({ template }: Workload): (typeof NAMES)[number] {
  const isAks = template.spec.runtimeClassName.startsWith("contrast-cc-aks-clh-snp");
  return isAks ? AKS_INITDATA_ANNOTATION : INITDATA_ANNOTATION;
}

/**
 * @returns the initdata document of a pod that `generate` has been at; undefined: it has not
 * @throws ResourceError invalid_annotation
 */
export function policyDocument(workload: Workload): Buffer | undefined {
  const { template, file, document, templatePath } = workload;
  const name = nameFor(workload);
  const text = template.metadata?.annotations?.[name];
  if (text === undefined) return undefined;
  try {
    return fromAnnotation(text);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const place = placeIn(file, document, [...templatePath, "metadata", "annotations", name]);
    const { got = quote(text), want = "what `contrast generate` wrote" } = error;
    const fault = { where: `${place}, ${name}`, got, want };
    throw new ResourceError("invalid_annotation", "the annotation holds no policy", [fault]);
  }
}

/** @returns the hash of the policy that was there. What was no policy is replaced. */
export function setPolicy(workload: Workload, document: Uint8Array): string | undefined {
  const { template } = workload;
  const annotations = { ...template.metadata?.annotations };
  const text = NAMES.map((name) => annotations[name]).find((value) => value !== undefined);
  const name = nameFor(workload);
  // In its place, so that nothing moves in the file; of another platform's shim nothing stays.
  for (const other of NAMES) if (other !== name) delete annotations[other];
  template.metadata = { ...template.metadata, annotations: { ...annotations, [name]: toAnnotation(document) } };
  return hashIn(text);
}

/** @returns the hash of the policy that a pod has; undefined: it has none, or what is there is no policy */
export function policyHashIn({ template }: Workload): string | undefined {
  return hashIn(NAMES.map((name) => template.metadata?.annotations?.[name]).find((value) => value !== undefined));
}

function hashIn(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    return policyHash(fromAnnotation(text));
  } catch {
    return undefined;
  }
}
