import type { Fault } from "../../runtime/environment.ts";
import { encodeInitdata, policyHash } from "../../manifest/initdata.ts";
import type { ResolvedImages } from "../images/resolved-image.ts";
import { type Annotated, type PodAnnotations, readAnnotations } from "./annotations.ts";
import { type GenerateCode, GenerateError } from "./error.ts";
import { inject, type InjectOptions } from "./inject.ts";
import { type PodPlaces, podPlaces } from "./pod-places.ts";
import type { PodSpec, Volume } from "./pod-spec.ts";
import { policyOf } from "./policy/policy.ts";
import { setPolicy } from "./policy-annotation.ts";
import { placeIn, type ResourceFile } from "./resource-file.ts";
import { findWorkloads, type Workload } from "./workloads.ts";

/** A pod with all that it needs but a policy. */
export interface PreparedPod {
  readonly workload: Workload;
  readonly annotations: PodAnnotations;
  /** As it will be, and a part of the file's values. */
  readonly spec: PodSpec;
  readonly places: PodPlaces;
  /** The volumes as the file has them. */
  readonly volumesBefore: readonly Volume[];
}

/** A pod that was made ready for its confidential VM. */
export interface EditedPod extends PreparedPod {
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
 * Puts into the pods what they need. Changes the values of the files.
 *
 * @throws GenerateError invalid_annotation
 */
export function preparePods(workloads: readonly Workload[], options: InjectOptions): PreparedPod[] {
  const faults: Fault[] = [];
  const annotations = workloads.map((workload) => readAnnotations(annotatedPlaces(workload), faults));
  throwAny("invalid_annotation", "an annotation is wrong", faults);
  return workloads.flatMap((workload, index): PreparedPod[] => {
    const own = annotations[index];
    if (own === undefined) return [];
    const { spec } = workload.template;
    const places = podPlaces(workload);
    const volumesBefore = structuredClone(spec.volumes ?? []);
    inject(spec, own, options);
    return [{ workload, annotations: own, spec, places, volumesBefore }];
  });
}

/** Computes the pods' policies and writes them into their annotations. Changes the values of the files. */
export function setPolicies(pods: readonly PreparedPod[], images: ResolvedImages): EditedPod[] {
  return pods.map((pod) => {
    const document = encodeInitdata(policyOf(pod.workload, pod.spec, images));
    return { ...pod, hash: policyHash(document), previousHash: setPolicy(pod.workload, document) };
  });
}

/** `<apiVersion>/<kind>/<namespace>/<name>`: what a workload is called where only its own name is known. */
export function workloadId({ apiVersion, kind, namespace, name }: Workload): string {
  return `${apiVersion}/${kind}/${namespace ?? "default"}/${name}`;
}

export function placeOf({ file, document, path }: Workload): string {
  return placeIn(file, document, path);
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

function throwAny(code: GenerateCode, message: string, faults: readonly Fault[]): void {
  if (faults.length > 0) throw new GenerateError(code, message, faults);
}
