import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openOrCreateVendor } from "../../attestation/simulated/vendor.ts";
import type { Resolution } from "../images/resolve.ts";
import { earlierPolicies } from "./earlier-policies.ts";
import {
  collectWorkloads,
  type EditedPod,
  type PreparedPod,
  preparePods,
  setPolicies,
  workloadId,
} from "./edit-pods.ts";
import { type Finding, FindingsError, findingLine } from "./finding.ts";
import { review } from "./findings/review.ts";
import { readImageReplacements } from "./image-replacements.ts";
import {
  encodeManifestFile,
  type Grant,
  grantPolicies,
  type ManifestFile,
  openValues,
  readManifestFile,
  withReferenceValues,
} from "./manifest-file.ts";
import type { OpenValue } from "./open-values.ts";
import { requireEnoughOwners, seedshareOwners, workloadOwners } from "./owner-keys.ts";
import { imagesToResolve, pinImages } from "./pin-images.ts";
import { type Platform, platformFacts, runtimeClassName } from "./platforms.ts";
import { readResourceFiles, type ResourceFile } from "./resource-file.ts";
import { joinTexts, rewriteResourceFile } from "./rewrite-resource.ts";
import type { Sidecar } from "./sidecars.ts";
import { type FileChange, writeFiles } from "./write-files.ts";

/** `contrast generate` (design §8), without its command line. */
export interface GenerateOptions {
  /** Files, and folders of them. */
  readonly paths: readonly string[];
  readonly workspaceDir: string;
  readonly referenceValues: Platform;
  readonly manifestPath: string;
  readonly skipInitializer?: boolean | undefined;
  readonly skipServiceMesh?: boolean | undefined;
  /** How the mesh proxy runs; undefined: as a native sidecar. */
  readonly sidecar?: Sidecar | undefined;
  /** Warnings stop, too. */
  readonly strict?: boolean | undefined;
  /** PEM files; none: the workspace's own key, made if need be. */
  readonly workloadOwnerKeys?: readonly string[] | undefined;
  readonly seedshareOwnerKeys?: readonly string[] | undefined;
  /** How many of the seed share owners it takes to recover; undefined: as the manifest has it, or 1. */
  readonly seedshareThreshold?: number | undefined;
  /** Nobody may change the manifest later. */
  readonly disableUpdates?: boolean | undefined;
  readonly imageReplacementsPath?: string | undefined;
  /** All resources go into this file, and the given ones stay as they are. */
  readonly outputPath?: string | undefined;
}

export interface GenerateResult {
  /** In the order of the files and of what stands in them; the manifest has the same order. */
  readonly policies: readonly GeneratedPolicy[];
  /** Every file whose bytes are new, keys and manifest included. */
  readonly changedFiles: readonly string[];
  readonly manifestPath: string;
  readonly runtimeClassName: string;
  /** The manifest's values that only the platform's operator knows. Until they are there it is invalid. */
  readonly fillIn: readonly OpenValue[];
  /** Warnings, by file and line. */
  readonly findings: readonly Finding[];
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

const SIMULATED_TEE = "simulated-tee";

interface Io {
  readonly now: () => Date;
  readonly talk: (line: string) => void;
  readonly warn: (line: string) => void;
  readonly resolveImages: (references: readonly string[]) => Promise<Resolution>;
}

/**
 * Makes pods ready for their confidential VMs and writes the manifest that allows them. All is computed before any
 * of these files is written, and a second run changes none of them. Software TEEs are launched anew each time.
 *
 * @throws GenerateError, ManifestError
 */
export async function generate(options: GenerateOptions, io: Io): Promise<GenerateResult> {
  const { workspaceDir, manifestPath, referenceValues: platform, outputPath } = options;
  const files = await readResourceFiles(options.paths, outputPath);
  const prepared = await prepare(files, options);
  const resolution = await io.resolveImages(imagesToResolve(prepared));
  const { images, pinned } = pinImages(prepared, resolution.images);
  const findings = review(prepared, { ...resolution, images });
  for (const finding of findings) io.warn(findingLine(finding));
  const stops = findings.filter(({ severity }) => options.strict === true || severity === "error");
  if (stops.length > 0) throw new FindingsError(findings);
  const pods = setPolicies(prepared, images);
  const resources = resourceChanges(files, outputPath);
  const before = await readManifestFile(manifestPath);
  const owners = await ownerChanges(options, before);
  const vendor =
    platform === "simulated"
      ? await openOrCreateVendor(join(workspaceDir, SIMULATED_TEE, "vendor"), io.now())
      : undefined;

  const earlier = await earlierPolicies(outputPath);
  const grants = pods.map((pod) => toGrant(pod, earlier.get(workloadId(pod.workload))));
  const { policies, dropped } = grantPolicies(before?.Policies ?? {}, grants);
  const { kind, values } = platformFacts(platform);
  const referenceValues = vendor === undefined ? values : { ...values, RootDigest: vendor.rootDigest };
  const manifest: ManifestFile = {
    Policies: policies,
    ReferenceValues: withReferenceValues(before?.ReferenceValues ?? {}, kind, referenceValues),
    ...owners.names,
  };
  const bytes = encodeManifestFile(manifest);
  const fillIn = openValues(bytes, manifest);

  const changes = await unwritten([...owners.keys, ...resources, { path: manifestPath, content: bytes, mode: 0o644 }]);
  await writeFiles(changes);
  const vmDirs = pods.map((pod) => vendor && join(workspaceDir, SIMULATED_TEE, vmName(pod, pods)));
  for (const [index, { hash }] of pods.entries()) {
    await vendor?.launch(vmDirs[index] ?? "", { hostData: Buffer.from(hash, "hex") });
  }

  for (const { path } of owners.keys) io.talk(`made the key ${path}: keep it, and keep it secret`);
  for (const reference of pinned) io.talk(`pinned ${reference}`);
  for (const hash of dropped) {
    const names = before?.Policies[hash]?.SANs.join(", ") ?? "";
    io.warn(`warning: ${manifestPath}: took out policy ${hash} (${names}), which no given pod has`);
  }
  return {
    policies: pods.map(({ hash, workload: { name, kind, namespace, file } }, index) => {
      return { hash, name, kind, namespace, file: file.path, vmDir: vmDirs[index] };
    }),
    changedFiles: changes.map(({ path }) => path),
    manifestPath,
    runtimeClassName: runtimeClassName(platform),
    fillIn,
    findings,
  };
}

async function prepare(files: readonly ResourceFile[], options: GenerateOptions): Promise<PreparedPod[]> {
  const { imageReplacementsPath: path, skipInitializer = false, skipServiceMesh = false, sidecar = "native" } = options;
  const imageReplacements = path === undefined ? new Map<string, string>() : await readImageReplacements(path);
  const platform = options.referenceValues;
  return preparePods(collectWorkloads(files), {
    platform,
    skipInitializer,
    skipServiceMesh,
    sidecar,
    imageReplacements,
  });
}

/** The files as they are to be; or one file with all of them, each behind the mark of a document. */
function resourceChanges(files: readonly ResourceFile[], outputPath: string | undefined): FileChange[] {
  const texts = files.map((file) => rewriteResourceFile(file, file.values));
  if (outputPath !== undefined) return [{ path: outputPath, content: joinTexts(outputPath, texts), mode: 0o644 }];
  return files.map(({ path }, index) => ({ path, content: texts[index] ?? "", mode: 0o644 }));
}

/** The owners of the manifest: those it has, and those that are given; and the keys that have to be written. */
async function ownerChanges(
  options: GenerateOptions,
  before: ManifestFile | undefined,
): Promise<{
  readonly names: Pick<ManifestFile, "WorkloadOwnerKeyDigests" | "SeedshareOwnerPubKeys" | "SeedshareThreshold">;
  readonly keys: readonly FileChange[];
}> {
  const { workspaceDir, workloadOwnerKeys = [], seedshareOwnerKeys = [], disableUpdates = false } = options;
  const ownPaths = [join(workspaceDir, "workload-owner.pem"), join(workspaceDir, "seedshare-owner.pem")] as const;
  const workload = disableUpdates
    ? undefined
    : await workloadOwners(workloadOwnerKeys, ownPaths[0], before?.WorkloadOwnerKeyDigests);
  const seedshare = await seedshareOwners(seedshareOwnerKeys, ownPaths[1], before?.SeedshareOwnerPubKeys);
  const threshold = options.seedshareThreshold ?? before?.SeedshareThreshold ?? 1;
  requireEnoughOwners(threshold, seedshare.names.length);
  return {
    names: {
      WorkloadOwnerKeyDigests: workload?.names ?? [],
      SeedshareOwnerPubKeys: seedshare.names,
      ...(threshold > 1 && { SeedshareThreshold: threshold }),
    },
    keys: [workload?.made, seedshare.made].flatMap((content, index): FileChange[] => {
      return content === undefined ? [] : [{ path: ownPaths[index] ?? "", content, mode: 0o600 }];
    }),
  };
}

function toGrant({ workload, annotations, hash, previousHash }: EditedPod, earlier: string | undefined): Grant {
  const { role, workloadSecretId } = annotations;
  return {
    hash,
    previousHash: previousHash ?? earlier,
    role,
    defaultSans: [role ?? workload.name, "*"],
    defaultSecretId: workloadId(workload),
    secretId: workloadSecretId,
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
