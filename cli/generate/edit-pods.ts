import { type Fault, quote } from "../../runtime/fault.ts";
import { encodeInitdata, policyHash } from "../../manifest/initdata.ts";
import type { ResolvedImages } from "../../registry/resolved-image.ts";
import { type Annotated, ANNOTATION, type PodAnnotations, readAnnotations } from "./annotations.ts";
import { hostOfCoordinator, READY } from "./coordinator-host.ts";
import { beyondEngine } from "../../policy/engine-limits.ts";
import { GenerateError } from "./error.ts";
import { ResourceError } from "../../kubernetes/error.ts";
import { COLLATERAL_PROXY } from "./initializer.ts";
import { inject, type InjectOptions } from "./inject.ts";
import { platformOf } from "./pod-platform.ts";
import type { Platform } from "./platform-names.ts";
import { giveKey, keyGroupOf } from "./key-group.ts";
import { claimTemplates } from "../../kubernetes/claims.ts";
import { type PodPlaces, podPlaces } from "../../kubernetes/pod-places.ts";
import type { Container, PodSpec, Volume } from "../../kubernetes/pod-spec.ts";
import { type Permission, type PermissionChanges, permissionsOf } from "../../policy/permissions.ts";
import { type PolicyOptions, policyOf } from "../../policy/policy.ts";
import { simulatedTeeSecret } from "./simulated-tee.ts";
import { isVolumeContainer, VOLUME_MOUNT } from "./volume-container.ts";
import { setPolicy } from "../../policy/policy-annotation.ts";
import { placeIn } from "../../kubernetes/resource-file.ts";
import type { Service } from "../../kubernetes/services.ts";
import type { Workload } from "../../kubernetes/workloads.ts";

/** A pod with all that it needs but a policy. */
export interface PreparedPod {
  readonly workload: Workload;
  readonly platform: Platform;
  readonly annotations: PodAnnotations;
  /** As it will be, and a part of the file's values. */
  readonly spec: PodSpec;
  /** What the host may do with it. */
  readonly permissions: readonly Permission[];
  readonly places: PodPlaces;
  /** The volumes as the file has them. */
  readonly volumesBefore: readonly Volume[];
  /** Those that were encrypted, by the file, and are not any more. */
  readonly droppedVolumes: readonly string[];
}

/** A pod that was made ready for its confidential VM. */
export interface EditedPod extends PreparedPod {
  /** The policy's hash, 64 hexadecimal digits. */
  readonly hash: string;
  /** That of the policy that the pod had before. */
  readonly previousHash: string | undefined;
}

export interface PrepareOptions extends Omit<InjectOptions, "platform"> {
  /** Those that pods may run on; at least one. */
  readonly platforms: readonly Platform[];
  /** Undefined: that of the Coordinators among the pods. */
  readonly coordinatorNamespace?: string | undefined;
  /** Those among the files. */
  readonly services: readonly Service[];
  /** For all pods; their annotations may say otherwise. */
  readonly permissions?: PermissionChanges | undefined;
}

/**
 * Puts into the pods what they need. Changes the values of the files.
 *
 * @throws ResourceError invalid_annotation, other_platform
 */
export function preparePods(workloads: readonly Workload[], options: PrepareOptions): PreparedPod[] {
  const faults: Fault[] = [];
  const annotations = workloads.map((workload) => {
    const sources = annotatedPlaces(workload);
    const read = readAnnotations(sources, faults);
    if (options.sidecar === "container") {
      if (read.renew) faults.push(noSidecar(sources, ANNOTATION.renew));
      if (read.secureVolumes.length > 0) faults.push(noSidecar(sources, ANNOTATION.secureVolumes));
    }
    return read;
  });
  if (faults.length > 0) throw new ResourceError("invalid_annotation", "an annotation is wrong", faults);
  const platforms = workloads.map((workload) => platformOf(workload, options.platforms, faults));
  if (faults.length > 0)
    throw new ResourceError("other_platform", "a pod is for a platform that was not given", faults);
  const coordinators = workloads.filter((_, index) => annotations[index]?.role === "coordinator");
  const earlierProxy = collateralProxyOf(coordinators);
  const collateralProxy = options.collateralProxy ?? earlierProxy;
  if (options.collateralProxy !== undefined) setCollateralProxy(coordinators, options.collateralProxy);
  const known = coordinators.map(({ namespace }) => {
    return { namespace, hasReady: options.services.some((it) => it.name === READY && it.namespace === namespace) };
  });
  const named = options.coordinatorNamespace;
  const meant =
    named === undefined
      ? known
      : [known.find(({ namespace }) => namespace === named) ?? { namespace: named, hasReady: undefined }];
  return workloads.flatMap((workload, index): PreparedPod[] => {
    const [own, platform] = [annotations[index], platforms[index]];
    if (own === undefined || platform === undefined) return [];
    const { spec } = workload.template;
    const places = podPlaces(workload);
    const volumesBefore = structuredClone(spec.volumes ?? []);
    const volumeContainers = (spec.initContainers ?? []).filter((container) => isVolumeContainer(container));
    const secret = platform === "simulated" ? simulatedTeeSecret(workload) : undefined;
    const coordinatorHost = hostOfCoordinator(workload.namespace, meant);
    inject(spec, own, {
      ...options,
      platform,
      collateralProxy,
      earlierProxy,
      coordinatorHost,
      simulatedTeeSecret: secret,
      claimTemplates: claimTemplates(workload).map(({ name }) => name),
    });
    const permissions = permissionsOf(
      ...(options.permissions === undefined ? [] : [options.permissions]),
      own.permissions,
    );
    const droppedVolumes = mountedBy(volumeContainers).filter(
      (name) =>
        !own.secureVolumes.some(({ volume }) => volume === name) && volumesBefore.some((it) => it.name === name),
    );
    return [{ workload, platform, annotations: own, spec, permissions, places, volumesBefore, droppedVolumes }];
  });
}

/** The volumes that they open. */
function mountedBy(containers: readonly Container[]): string[] {
  return containers.flatMap(({ volumeMounts }) =>
    (volumeMounts ?? []).filter(({ mountPath }) => mountPath === VOLUME_MOUNT).map(({ name }) => name),
  );
}

/** Who stays beside the application, and comes before it, is a native sidecar. */
function noSidecar(sources: readonly Annotated[], name: string): Fault {
  const source = sources.findLast(({ annotations }) => Object.hasOwn(annotations, name));
  const where = [source?.place(name), name].filter(Boolean).join(", ");
  const got = `${quote(source?.annotations[name] ?? "")} with --sidecar container`;
  return { where, got, want: "--sidecar native, on Kubernetes 1.29 or later" };
}

function collateralProxyOf(coordinators: readonly Workload[]): string | undefined {
  const variables = coordinators.flatMap(({ template }) => template.spec.containers.flatMap(({ env }) => env ?? []));
  const value = variables.find(({ name }) => name === COLLATERAL_PROXY)?.["value"];
  return typeof value === "string" ? value : undefined;
}

/** So that it is a part of the Coordinator's policy. */
function setCollateralProxy(coordinators: readonly Workload[], url: string): void {
  for (const { template } of coordinators) {
    const { containers } = template.spec;
    const named = containers.find(({ env }) => env?.some(({ name }) => name === COLLATERAL_PROXY));
    const container = named ?? containers.find(({ name }) => name === "coordinator") ?? containers[0];
    if (container === undefined) continue;
    const others = (container.env ?? []).filter(({ name }) => name !== COLLATERAL_PROXY);
    container.env = [...others, { name: COLLATERAL_PROXY, value: url }];
  }
}

/** Lets the applications read their key. Changes the values of the files. */
export function giveKeys(pods: readonly PreparedPod[], images: ResolvedImages): void {
  for (const { spec, annotations } of pods) giveKey(spec, keyGroupOf(spec, annotations.keyGroup, images));
}

/**
 * Computes the pods' policies and writes them into their annotations. Changes the values of the files.
 *
 * @param options guestPull: what the guests are told about pulling images, as `guestPullOf` has it
 * @throws GenerateError policy_too_large
 */
export function setPolicies(
  pods: readonly PreparedPod[],
  images: ResolvedImages,
  { guestPull, ...options }: PolicyOptions & { readonly guestPull?: string | undefined } = {},
): EditedPod[] {
  const policies = pods.map((pod) => ({ pod, rego: regoOf(pod, images, options) }));
  const faults = policies.flatMap(({ pod, rego }): Fault[] => {
    const fault = beyondEngine(rego);
    return fault === undefined ? [] : [{ where: pod.places.workload, ...fault }];
  });
  if (faults.length > 0) throw new GenerateError("policy_too_large", "the agent can't load a policy", faults);
  return policies.map(({ pod, rego }) => {
    const document = encodeInitdata(rego, guestPull);
    return { ...pod, hash: policyHash(document), previousHash: setPolicy(pod.workload, document) };
  });
}

/** The hash of the policy that a pod would get. */
export function policyHashOf(
  pod: PreparedPod,
  images: ResolvedImages,
  { guestPull, ...options }: PolicyOptions & { readonly guestPull?: string | undefined },
): string {
  return policyHash(encodeInitdata(regoOf(pod, images, options), guestPull));
}

function regoOf(pod: PreparedPod, images: ResolvedImages, options: PolicyOptions): string {
  return policyOf(pod.workload, pod.spec, images, { ...options, permissions: pod.permissions });
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
