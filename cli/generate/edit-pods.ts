import { quote, type Fault } from "../../runtime/environment.ts";
import { ManifestError } from "../../manifest/error.ts";
import {
  encodeInitdata,
  fromAnnotation,
  INITDATA_ANNOTATION,
  policyHash,
  toAnnotation,
} from "../../manifest/initdata.ts";
import { type Annotated, type CheckRules, type PodAnnotations, readAnnotations } from "./annotations.ts";
import { type GenerateCode, GenerateError } from "./error.ts";
import { inject, type InjectOptions } from "./inject.ts";
import { policyOf } from "./policy.ts";
import { fieldIn, placeIn, type ResourceFile } from "./resource-file.ts";
import { findWorkloads, type Workload } from "./workloads.ts";

/** A pod that was made ready for its confidential VM. */
export interface EditedPod {
  readonly workload: Workload;
  readonly annotations: PodAnnotations;
  /** The policy's hash, 64 hexadecimal digits. */
  readonly hash: string;
  /** That of the policy that the pod had before. */
  readonly previousHash: string | undefined;
}

/**
 * The workloads of all files, each of them once.
 *
 * @throws GenerateError invalid_resource, duplicate_workload, no_workloads
 */
export function collectWorkloads(files: readonly ResourceFile[]): Workload[] {
  const faults: Fault[] = [];
  const workloads = files.flatMap((file) => findWorkloads(file, faults));
  throwAny("invalid_resource", "a workload is not what Kubernetes takes", faults);
  if (workloads.length === 0) {
    const where = files.map(({ path }) => path).join(", ") || "the given folders";
    throw new GenerateError("no_workloads", "there is nothing to do", [
      { where, got: "no pod for a confidential VM", want: "a pod with runtimeClassName: contrast-cc" },
    ]);
  }
  const seen = new Map<string, Workload>();
  for (const workload of workloads) {
    const { kind, namespace = "default", name } = workload;
    const id = `${kind} ${namespace}/${name}`;
    const other = seen.get(id);
    if (other === undefined) seen.set(id, workload);
    else faults.push({ where: placeOf(workload), got: `${id}, as at ${placeOf(other)}`, want: "every workload once" });
  }
  throwAny("duplicate_workload", "two documents describe the same workload", faults);
  return workloads;
}

/**
 * Makes the pods ready: puts in what they need, computes their policies and writes these into their annotations. Changes
 * the values of the files.
 *
 * @throws GenerateError invalid_annotation, invalid_resource
 */
export function editPods(workloads: readonly Workload[], options: InjectOptions, checkRules: CheckRules): EditedPod[] {
  const faults: Fault[] = [];
  const annotations = workloads.map((workload) => readAnnotations(annotatedPlaces(workload), checkRules, faults));
  throwAny("invalid_annotation", "an annotation is wrong", faults);
  const pods = workloads.flatMap((workload, index): EditedPod[] => {
    const own = annotations[index];
    if (own === undefined) return [];
    for (const { where, ...fault } of inject(workload.template.spec, own, options)) {
      const spec = `${fieldIn([...workload.templatePath, "spec"])}.${where}`;
      faults.push({ ...fault, where: `${placeOf(workload)}, ${spec}` });
    }
    const document = encodeInitdata(policyOf(workload, workload.template.spec));
    return [{ workload, annotations: own, hash: policyHash(document), previousHash: setPolicy(workload, document) }];
  });
  throwAny("invalid_resource", "a workload can't be given what it needs", faults);
  return pods;
}

/** `<apiVersion>/<kind>/<namespace>/<name>`: what a workload is called where only its own name is known. */
export function workloadId({ apiVersion, kind, namespace, name }: Workload): string {
  return `${apiVersion}/${kind}/${namespace ?? "default"}/${name}`;
}

/** The initdata document of a pod that `generate` has been at. */
export function policyDocument(workload: Workload): Buffer | undefined {
  const text = workload.template.metadata?.annotations?.[INITDATA_ANNOTATION];
  if (text === undefined) return undefined;
  try {
    return fromAnnotation(text);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const where = `${annotationPlace(workload, INITDATA_ANNOTATION)}, ${INITDATA_ANNOTATION}`;
    throw new GenerateError("invalid_annotation", "the annotation holds no policy", [
      { where, got: error.got ?? quote(text), want: error.want ?? "what `contrast generate` wrote" },
    ]);
  }
}

export function placeOf({ file, document, path }: Workload): string {
  return placeIn(file, document, path);
}

/** @returns the hash of the policy that was there */
function setPolicy(workload: Workload, document: Buffer): string | undefined {
  const { template } = workload;
  const text = template.metadata?.annotations?.[INITDATA_ANNOTATION];
  const annotation = toAnnotation(document);
  template.metadata = {
    ...template.metadata,
    annotations: { ...template.metadata?.annotations, [INITDATA_ANNOTATION]: annotation },
  };
  if (text === undefined) return undefined;
  try {
    return policyHash(fromAnnotation(text));
  } catch {
    // Whatever it was, it is no policy, and it is replaced.
    return undefined;
  }
}

/** The pod template's annotations go before those of the resource. For a Pod they are the same. */
function annotatedPlaces(workload: Workload): Annotated[] {
  const { annotations, template, file, document, templatePath, path } = workload;
  const places =
    templatePath.length === path.length
      ? [{ annotations, base: path }]
      : [
          { annotations, base: path },
          { annotations: template.metadata?.annotations ?? {}, base: templatePath },
        ];
  return places.map(({ annotations, base }) => ({
    annotations,
    place: (name) => placeIn(file, document, [...base, "metadata", "annotations", name]),
  }));
}

function annotationPlace({ file, document, templatePath }: Workload, name: string): string {
  return placeIn(file, document, [...templatePath, "metadata", "annotations", name]);
}

function throwAny(code: GenerateCode, message: string, faults: readonly Fault[]): void {
  if (faults.length > 0) throw new GenerateError(code, message, faults);
}
