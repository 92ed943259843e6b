import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { openOrCreateVendor } from "../../attestation/simulated/vendor.ts";
import { unpinnedMachines } from "../../manifest/unpinned-machines.ts";
import { lifetimeAdvice, lifetimeOf } from "./lifetime.ts";
import type { Resolution } from "../../registry/resolve.ts";
import { earlierPolicies } from "./earlier-policies.ts";
import { configValues } from "../../kubernetes/config-values.ts";
import { collectWorkloads, workloadId } from "../../kubernetes/collect-workloads.ts";
import { type GuestPullOptions, guestPullOf } from "./guest-pull.ts";
import { type EditedPod, giveKeys, policyHashOf, type PreparedPod, preparePods, setPolicies } from "./edit-pods.ts";
import { byPlace, type Finding, FindingsError, findingLine } from "./finding.ts";
import { fileFindings } from "./findings/files.ts";
import { review } from "./findings/review.ts";
import { readImageReplacements } from "./image-replacements.ts";
import {
  encodeManifestFile,
  type Grant,
  grantPolicies,
  type ManifestFile,
  openValues,
  readManifestFile,
  withNotBefore,
  requireNoReservedNames,
  requireShortChains,
  withReferenceValues,
} from "./manifest-file.ts";
import { fillMeasurements, readMeasurementsFiles } from "./measurements.ts";
import type { OpenValue } from "../workspace/open-values.ts";
import { FILES } from "../workspace/workspace.ts";
import { requireEnoughOwners, seedshareOwners, workloadOwners } from "./owner-keys.ts";
import { imagesToResolve, pinImages } from "./pin-images.ts";
import { keepPredecessors, namePredecessors } from "./predecessors.ts";
import { policyHashIn } from "../../policy/policy-annotation.ts";
import { mediumOf } from "../../policy/mounts.ts";
import { type PermissionChanges, unusualPermissions } from "../../policy/permissions.ts";
import { type Platform, platformFacts, runtimeClassName } from "./platforms.ts";
import type { NamedKind } from "../../kubernetes/kinds.ts";
import { ResourceError } from "../../kubernetes/error.ts";
import { readStreamText } from "../../kubernetes/read-text.ts";
import { parseResourceFile, readResourceFiles, type ResourceFile } from "../../kubernetes/resource-file.ts";
import { findServices } from "../../kubernetes/services.ts";
import { joinTexts, rewriteParts, rewriteResourceFile } from "../../kubernetes/rewrite-resource.ts";
import type { Sidecar } from "./sidecars.ts";
import { simulatedTeeFile } from "./simulated-tee.ts";
import { type FileChange, writeFiles } from "../../kubernetes/write-files.ts";

/** `contrast generate` (docs/design.md §8), without its command line. */
export interface GenerateOptions extends GuestPullOptions {
  /** Files, and folders of them; `-` is standard input. */
  readonly paths: readonly string[];
  readonly workspaceDir: string;
  /** The platforms of the pods; `simulated` only alone. */
  readonly referenceValues: readonly Platform[];
  readonly manifestPath: string;
  readonly skipInitializer?: boolean | undefined;
  readonly skipServiceMesh?: boolean | undefined;
  /** How the mesh proxy runs; undefined: as a native sidecar. */
  readonly sidecar?: Sidecar | undefined;
  /** Where the Coordinator is; undefined: where the one among the pods is. */
  readonly coordinatorNamespace?: string | undefined;
  /** What the host may do with all pods; undefined: what every pod needs. */
  readonly permissions?: PermissionChanges | undefined;
  /** Base URL that stands in for the vendors', for Coordinator and Initializers; undefined: as the files have it. */
  readonly collateralProxy?: string | undefined;
  /** The pods' policies refuse addresses and routes of IPv6. */
  readonly ipv4Only?: boolean | undefined;
  /** Policies name the values of Secrets in the given files, too. */
  readonly pinSecrets?: boolean | undefined;
  /** The manifest lists no Coordinator any more that is none of the pods. */
  readonly dropPredecessors?: boolean | undefined;
  /** Warnings stop, too. */
  readonly strict?: boolean | undefined;
  /** PEM files; none: the workspace's own key, made if need be. */
  readonly workloadOwnerKeys?: readonly string[] | undefined;
  readonly seedshareOwnerKeys?: readonly string[] | undefined;
  /** How many of the seed share owners it takes to recover; undefined: as the manifest has it, or 1. */
  readonly seedshareThreshold?: number | undefined;
  readonly workloadOwnerThreshold?: number | undefined;
  /** Nobody may change the manifest later. */
  readonly disableUpdates?: boolean | undefined;
  readonly imageReplacementsPath?: string | undefined;
  /** Files of `contrast measure`, at most one for each TEE. */
  readonly measurementsPaths?: readonly string[] | undefined;
  /** Kinds beside those of Kubernetes whose pods get what they need. */
  readonly kinds?: readonly NamedKind[] | undefined;
  /** All resources go into this file, and the given ones stay as they are; `-` is standard output. */
  readonly outputPath?: string | undefined;
}

export interface GenerateResult {
  /** In the order of the files and of what stands in them; the manifest has the same order. */
  readonly policies: readonly GeneratedPolicy[];
  /** Every file whose bytes are new, keys and manifest included. */
  readonly changedFiles: readonly string[];
  readonly manifestPath: string;
  /** In the order of the platforms. */
  readonly runtimeClassNames: readonly string[];
  /** The manifest's values that only the platform's operator knows. Until they are there it is invalid. */
  readonly fillIn: readonly OpenValue[];
  /** Where each emptyDir is: `Deployment/web: scratch in the VM's memory`. */
  readonly volumes: readonly string[];
  /** Warnings, by file and line. */
  readonly findings: readonly Finding[];
  /** What standard output is to have: what standard input is to be, or all resources if they go there. */
  readonly output?: string;
  /** On the simulated platform, the file with the Secrets that the pods mount. It is written anew each time. */
  readonly secretsPath?: string;
}

export interface GeneratedPolicy {
  readonly hash: string;
  readonly name: string;
  readonly kind: string;
  readonly namespace: string | undefined;
  readonly file: string;
  /** What CONTRAST_SIMULATED_TEE_DIR is for this pod, on the simulated platform. */
  readonly vmDir?: string | undefined;
}

/** The software TEEs of the pods, below the workspace. */
const SIMULATED_TEE_FOLDER = "simulated-tee";
/** The Secrets with the pods' software TEEs. */
const SIMULATED_TEE_FILE = "simulated-tee.json";

interface Io {
  readonly now: () => Date;
  readonly talk: (line: string) => void;
  readonly warn: (line: string) => void;
  readonly resolveImages: (references: readonly string[]) => Promise<Resolution>;
  /** Standard input. */
  readonly input: () => AsyncIterable<Uint8Array>;
}

/** Standard input among the paths, and standard output as the file for all resources. */
export const STANDARD_STREAM = "-";
const INPUT_NAME = "stdin";
const OUTPUT_NAME = "stdout";

/**
 * Makes pods ready for their confidential VMs and writes the manifest that allows them. All is computed before any
 * of these files is written, and a second run changes none of them. Software TEEs are launched anew each time.
 *
 * @throws GenerateError, ManifestError
 */
export async function generate(options: GenerateOptions, io: Io): Promise<GenerateResult> {
  const { workspaceDir, manifestPath, referenceValues: platforms, outputPath, pinSecrets = false } = options;
  const { files, input } = await readInput(options, io);
  const measured = await readMeasurementsFiles(options.measurementsPaths ?? []);
  const unseen = fileFindings(files, options.kinds ?? []);
  // First: there may be nothing else that is about a pod.
  for (const finding of unseen) io.warn(findingLine(finding));
  const prepared = await prepare(files, options);
  const fill = fillMeasurements(measured, prepared);
  const resolution = await io.resolveImages(imagesToResolve(prepared));
  const { images, pinned } = pinImages(prepared, resolution.images);
  giveKeys(prepared, images);
  const config = configValues(files, pinSecrets ? ["ConfigMap", "Secret"] : ["ConfigMap"]);
  const seen = review(prepared, { ...resolution, images }, files, config);
  for (const finding of seen) io.warn(findingLine(finding));
  const findings = [...unseen, ...seen].toSorted(byPlace);
  const stops = findings.filter(({ severity }) => options.strict === true || severity === "error");
  if (stops.length > 0) throw new FindingsError(findings);
  const guestPull = await guestPullOf(options);
  const policyOptions = { ipv4Only: options.ipv4Only, config, guestPull };
  const before = await readManifestFile(manifestPath);
  const earlier = await earlierPolicies(outputPath === STANDARD_STREAM ? undefined : outputPath, options.kinds);
  const successions = namePredecessors(
    prepared,
    before?.Policies ?? {},
    await isDeployed(workspaceDir),
    (pod) => policyHashOf(pod, images, policyOptions),
    ({ workload }) => policyHashIn(workload) ?? earlier.get(workloadId(workload)),
  );
  const pods = setPolicies(prepared, images, policyOptions);
  const printed =
    outputPath === STANDARD_STREAM ? files : input !== undefined && outputPath === undefined ? [input] : [];
  const output = printed.length > 0 ? joinTexts(OUTPUT_NAME, allParts(printed)) : undefined;
  const resources = resourceChanges(
    files.filter((file) => !printed.includes(file)),
    outputPath,
  );
  const owners = await ownerChanges(options, before);
  const vendor = platforms.includes("simulated")
    ? await openOrCreateVendor(join(workspaceDir, SIMULATED_TEE_FOLDER, "vendor"), io.now())
    : undefined;

  const grants = pods.map((pod) => toGrant(pod, earlier.get(workloadId(pod.workload))));
  const granted = grantPolicies(before?.Policies ?? {}, grants);
  const kept = options.dropPredecessors === true ? [] : successions;
  const policies = keepPredecessors(granted.policies, before?.Policies ?? {}, kept);
  const dropped = granted.dropped.filter((hash) => !Object.hasOwn(policies, hash));
  const sets = platforms.map((platform) => {
    const { kind, values } = platformFacts(platform);
    return { kind, values: vendor === undefined ? values : { ...values, RootDigest: vendor.rootDigest } };
  });
  const made: ManifestFile = {
    Policies: policies,
    ReferenceValues: fill(withReferenceValues(before?.ReferenceValues ?? {}, sets)),
    ...owners.names,
    CertificateLifetime: lifetimeOf(
      before?.CertificateLifetime,
      pods.map(({ annotations }) => annotations),
    ),
    ...(before?.MeshCAOverlap !== undefined && { MeshCAOverlap: before.MeshCAOverlap }),
    ...(before?.WorkloadSecretOverlap !== undefined && { WorkloadSecretOverlap: before.WorkloadSecretOverlap }),
  };
  const manifest = withNotBefore(made, before, io.now());
  const bytes = encodeManifestFile(manifest);
  const fillIn = openValues(bytes, manifest);
  requireShortChains(manifest);
  requireNoReservedNames(manifest);

  const changes = await unwritten([...owners.keys, ...resources, { path: manifestPath, content: bytes, mode: 0o644 }]);
  await writeFiles(changes);
  const vmDirs = pods.map((pod) => vendor && join(workspaceDir, SIMULATED_TEE_FOLDER, vmName(pod, pods)));
  for (const [index, { hash }] of pods.entries()) {
    await vendor?.launch(vmDirs[index] ?? "", { hostData: Buffer.from(hash, "hex") });
  }
  const secretsPath = vendor && join(workspaceDir, SIMULATED_TEE_FILE);
  if (secretsPath !== undefined) {
    const content = await simulatedTeeFile(
      pods.map(({ workload }, index) => ({ workload, vmDir: vmDirs[index] ?? "" })),
    );
    await writeFiles([{ path: secretsPath, content, mode: 0o600 }]);
  }

  for (const platform of platforms) {
    const { warning } = platformFacts(platform);
    if (warning !== undefined) io.warn(`warning: ${platform}: ${warning}`);
  }
  for (const { path } of owners.keys) io.talk(`made the key ${path}: keep it, and keep it secret`);
  for (const reference of pinned) io.talk(`pinned ${reference}`);
  for (const { pod, predecessors } of kept.filter((succession) => succession.predecessors.length > 0)) {
    const { kind, name } = pod.workload;
    io.talk(`${kind}/${name} may follow policy ${predecessors.join(", ")}: see "Upgrade" in docs/operations.md`);
  }
  for (const hash of dropped) {
    const names = before?.Policies[hash]?.SANs.join(", ") ?? "";
    io.warn(`warning: ${manifestPath}: removed policy ${hash} (${names}), which no given pod has`);
  }
  const named = pods.map(({ workload: { kind, name }, annotations }) => ({ name: `${kind}/${name}`, annotations }));
  const { warning, hint } = lifetimeAdvice(made.CertificateLifetime ?? "", named);
  if (warning !== undefined) io.warn(`warning: ${manifestPath}: ${warning}`);
  if (hint !== undefined) io.talk(`${manifestPath}: ${hint}`);
  for (const { where, machines } of unpinnedMachines(manifest.ReferenceValues)) {
    io.warn(
      `warning: ${manifestPath}: ${where}: ${machines} is trusted: anybody with physical access to one can impersonate a VM`,
    );
  }
  return {
    policies: pods.map(({ hash, workload: { name, kind, namespace, file } }, index) => {
      return { hash, name, kind, namespace, file: file.path, vmDir: vmDirs[index] };
    }),
    changedFiles: changes.map(({ path }) => path),
    manifestPath,
    runtimeClassNames: platforms.map(runtimeClassName),
    fillIn,
    volumes: pods.flatMap(volumesOf),
    findings,
    ...(output !== undefined && { output }),
    ...(secretsPath !== undefined && { secretsPath }),
  };
}

const MEDIA = {
  memory: "in the VM's memory",
  disk: "on a disk that the VM encrypts, or in its memory",
  other: "nowhere",
} as const;

function volumesOf({ workload: { kind, name }, spec, annotations }: PreparedPod): string[] {
  return (spec.volumes ?? []).flatMap((volume) => {
    const secure = annotations.secureVolumes.find((it) => it.volume === volume.name);
    if (secure !== undefined) return [`${kind}/${name}: ${volume.name} on the disk ${secure.device}, encrypted`];
    const medium = mediumOf(volume.name, spec);
    return medium === undefined ? [] : [`${kind}/${name}: ${volume.name} ${MEDIA[medium]}`];
  });
}

/** Whether a manifest of this workspace was set or verified. */
async function isDeployed(workspaceDir: string): Promise<boolean> {
  return access(join(workspaceDir, FILES.pin)).then(
    () => true,
    () => false,
  );
}

/** Standard input comes last. */
async function readInput(
  { paths, outputPath }: GenerateOptions,
  io: Io,
): Promise<{ readonly files: readonly ResourceFile[]; readonly input: ResourceFile | undefined }> {
  const named = await readResourceFiles(
    paths.filter((path) => path !== STANDARD_STREAM),
    outputPath === STANDARD_STREAM ? undefined : outputPath,
  );
  if (!paths.includes(STANDARD_STREAM)) return { files: named, input: undefined };
  const text = await readStreamText(INPUT_NAME, io.input());
  if (text.trim() === "") {
    throw new ResourceError("no_workloads", "there is nothing to do", [
      { where: INPUT_NAME, got: "nothing", want: "Kubernetes resources: look at what the command before printed" },
    ]);
  }
  const input = parseResourceFile(INPUT_NAME, text);
  return { files: [...named, input], input };
}

async function prepare(files: readonly ResourceFile[], options: GenerateOptions): Promise<PreparedPod[]> {
  const { imageReplacementsPath: path, skipInitializer = false, skipServiceMesh = false, sidecar = "native" } = options;
  const imageReplacements = path === undefined ? new Map<string, string>() : await readImageReplacements(path);
  return preparePods(collectWorkloads(files, options.kinds), {
    platforms: options.referenceValues,
    skipInitializer,
    skipServiceMesh,
    sidecar,
    coordinatorNamespace: options.coordinatorNamespace,
    services: findServices(files),
    collateralProxy: options.collateralProxy,
    imageReplacements,
    permissions: options.permissions,
  });
}

/** The files as they are to be; or one file with all of them, each behind the mark of a document. */
function resourceChanges(files: readonly ResourceFile[], outputPath: string | undefined): FileChange[] {
  if (outputPath === undefined) {
    return files.map((file) => ({ path: file.path, content: rewriteResourceFile(file, file.values), mode: 0o644 }));
  }
  if (files.length === 0) return [];
  return [{ path: outputPath, content: joinTexts(outputPath, allParts(files)), mode: 0o644 }];
}

function allParts(files: readonly ResourceFile[]): string[] {
  return files.flatMap((file) => rewriteParts(file, file.values));
}

/** The owners of the manifest: those it has, and those that are given; and the keys that have to be written. */
async function ownerChanges(
  options: GenerateOptions,
  before: ManifestFile | undefined,
): Promise<{
  readonly names: Pick<
    ManifestFile,
    "WorkloadOwnerKeyDigests" | "WorkloadOwnerThreshold" | "SeedshareOwnerPubKeys" | "SeedshareThreshold"
  >;
  readonly keys: readonly FileChange[];
}> {
  const { workspaceDir, workloadOwnerKeys = [], seedshareOwnerKeys = [], disableUpdates = false } = options;
  const ownPaths = [join(workspaceDir, "workload-owner.pem"), join(workspaceDir, "seedshare-owner.pem")] as const;
  const workload = disableUpdates
    ? undefined
    : await workloadOwners(workloadOwnerKeys, ownPaths[0], before?.WorkloadOwnerKeyDigests);
  const seedshare = await seedshareOwners(seedshareOwnerKeys, ownPaths[1], before?.SeedshareOwnerPubKeys);
  const threshold = options.seedshareThreshold ?? before?.SeedshareThreshold ?? 1;
  requireEnoughOwners("seedshare", threshold, seedshare.names.length);
  const kept = disableUpdates ? undefined : before?.WorkloadOwnerThreshold;
  const leave = options.workloadOwnerThreshold ?? kept ?? 1;
  if (leave > 1) requireEnoughOwners("workload", leave, new Set(workload?.names).size);
  return {
    names: {
      WorkloadOwnerKeyDigests: workload?.names ?? [],
      ...(leave > 1 && { WorkloadOwnerThreshold: leave }),
      SeedshareOwnerPubKeys: seedshare.names,
      ...(threshold > 1 && { SeedshareThreshold: threshold }),
    },
    keys: [workload?.made, seedshare.made].flatMap((content, index): FileChange[] => {
      return content === undefined ? [] : [{ path: ownPaths[index] ?? "", content, mode: 0o600 }];
    }),
  };
}

function toGrant(
  { workload, annotations, permissions, hash, previousHash }: EditedPod,
  earlier: string | undefined,
): Grant {
  const { role, workloadSecretId } = annotations;
  return {
    hash,
    previousHash: previousHash ?? earlier,
    role,
    defaultSans: [role ?? workload.name, "*"],
    defaultSecretId: workloadId(workload),
    secretId: workloadSecretId,
    permissions: unusualPermissions(permissions),
  };
}

/** The pod's own name where that is enough; `vendor` is another directory already. */
function vmName({ workload }: EditedPod, pods: readonly EditedPod[]): string {
  const { name, namespace, kind } = workload;
  const isUnique = pods.filter((other) => other.workload.name === name).length === 1;
  return isUnique && name !== "vendor" ? name : `${namespace ?? "default"}.${kind}.${name}`;
}

/** Those whose bytes differ from what is there. */
async function unwritten(changes: readonly FileChange[]): Promise<FileChange[]> {
  const before = await Promise.all(changes.map(({ path }) => readFile(path).catch(() => undefined)));
  return changes.filter(({ content }, index) => before[index]?.equals(Buffer.from(content)) !== true);
}
