import { readFile } from "node:fs/promises";
import { longChains } from "../../manifest/certificate-size.ts";
import { type ManifestDraft, parseManifestDraft, type PolicyDraft } from "../../manifest/draft.ts";
import { ManifestError } from "../../manifest/error.ts";
import { encodeTime, parseManifest } from "../../manifest/manifest.ts";
import { REFERENCE_VALUE_KEYS, type ReferenceValues } from "../../manifest/reference-values.ts";
import type { Permission } from "../../policy/permissions.ts";
import { reservedNames } from "../../manifest/reserved-names.ts";
import { parseSan } from "../../manifest/san.ts";
import { GenerateError } from "./error.ts";
import { systemReason } from "../../kubernetes/error.ts";
import { type OpenValue, openValuesIn } from "../workspace/open-values.ts";
import type { ReferenceValueSet } from "./platforms.ts";

/** manifest.json while it is being written. What people change in it stays: names, secrets, reference values, owners. */
export type ManifestFile = ManifestDraft;

/** What a pod's policy is to be granted. */
export interface Grant {
  readonly hash: string;
  /** The policy that the pod had before, if any. */
  readonly previousHash: string | undefined;
  readonly role: "coordinator" | undefined;
  readonly defaultSans: readonly string[];
  readonly defaultSecretId: string;
  /** From the annotation: goes before everything else. Empty: none. */
  readonly secretId: string | undefined;
  /** What its policy permits the host beside what every pod needs. */
  readonly permissions: readonly Permission[];
}

/**
 * @returns undefined where there is no such file
 * @throws ManifestError, GenerateError unreadable_file
 */
export async function readManifestFile(path: string): Promise<ManifestFile | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (systemReason(error) === "ENOENT") return undefined;
    const fault = { where: path, got: systemReason(error), want: "a file that can be read, or none" };
    throw new GenerateError("unreadable_file", "the manifest can't be read", [fault], error);
  }
  try {
    return parseManifestDraft(bytes);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new ManifestError(error.code, `${path} is no manifest`, error.faults, error);
  }
}

/**
 * The policies for the manifest, in the order of the grants. What was granted to a pod before stays granted.
 *
 * @returns `dropped`: the policies before that belong to no grant
 */
export function grantPolicies(
  before: ManifestFile["Policies"],
  grants: readonly Grant[],
): { readonly policies: Record<string, PolicyDraft>; readonly dropped: readonly string[] } {
  const found = findPolicies(before, grants);
  const entries = grants.map((grant, index): [string, PolicyDraft] => {
    const { hash, role, defaultSans, defaultSecretId, secretId, permissions } = grant;
    const kept = before[found[index] ?? ""];
    const keptSecretId = kept === undefined ? defaultSecretId : kept.WorkloadSecretID;
    const secret = role === "coordinator" ? undefined : (secretId ?? keptSecretId);
    return [
      hash,
      {
        SANs: kept?.SANs ?? defaultSans,
        ...(secret && { WorkloadSecretID: secret }),
        ...(secret && kept?.Transit !== undefined && { Transit: kept.Transit }),
        ...(role !== undefined && { Role: role }),
        ...(permissions.length > 0 && { Permissions: permissions }),
      },
    ];
  });
  return { policies: Object.fromEntries(entries), dropped: Object.keys(before).filter((key) => !found.includes(key)) };
}

type Match = (grant: Grant, key: string, policy: PolicyDraft) => boolean;

const hasHash: Match = ({ hash }, key) => key === hash;
const hadHash: Match = ({ previousHash }, key) => key === previousHash;
const hasSecret: Match = ({ defaultSecretId }, _, { WorkloadSecretID }) => WorkloadSecretID === defaultSecretId;
const hasName: Match = ({ defaultSans: [name = ""] }, _, { SANs }) => SANs.includes(name);

/** By what a pod is found again, the surest first. The annotation with the old policy may be a copy of another pod's. */
const MATCHES: readonly Match[] = [
  hasHash,
  (...match) => hadHash(...match) && (hasSecret(...match) || hasName(...match)),
  (...match) => hasSecret(...match) && hasName(...match),
  hasSecret,
  hadHash,
  ({ role }, _, { Role }) => role === "coordinator" && Role === role,
];

/**
 * The policy of before for each grant. It is one pod's only: the copy of a file must not get the secrets of its original.
 * Coordinators have none, and one that is to follow another takes its names.
 */
function findPolicies(before: ManifestFile["Policies"], grants: readonly Grant[]): readonly (string | undefined)[] {
  const found = new Map<Grant, string>();
  const taken = new Set<string>();
  for (const match of MATCHES) {
    for (const grant of grants) {
      if (found.has(grant)) continue;
      const isFree = (key: string, { Role }: PolicyDraft): boolean =>
        Role === "coordinator" ? grant.role === Role : !taken.has(key);
      const key = Object.entries(before).find((entry) => isFree(...entry) && match(grant, ...entry))?.[0];
      if (key === undefined) continue;
      found.set(grant, key);
      taken.add(key);
    }
  }
  return grants.map((grant) => found.get(grant));
}

/**
 * Adds the reference values of platforms where there are none of their kind; those of other hardware stay once they are
 * filled in. Those of a software TEE are always the ones of this workspace, and go when the pods move to hardware: nobody
 * may stay trusted by mistake.
 *
 * @param platforms two may have equal values, which stand once
 */
export function withReferenceValues(
  before: ManifestFile["ReferenceValues"],
  platforms: readonly { readonly kind: keyof ReferenceValues; readonly values: ReferenceValueSet }[],
): ManifestFile["ReferenceValues"] {
  const kept = (kind: keyof ReferenceValues): readonly unknown[] => {
    const sets = kind === "insecure" ? [] : (before[kind] ?? []);
    const own = platforms.filter((platform) => platform.kind === kind).map(({ values }) => values);
    if (own.length === 0) return sets.filter((set) => openValuesIn(set, []).length === 0);
    return sets.length > 0 ? sets : [...new Map(own.map((values) => [JSON.stringify(values), values])).values()];
  };
  const all = REFERENCE_VALUE_KEYS.map((kind) => [kind, kept(kind)] as const);
  return Object.fromEntries(all.filter(([, sets]) => sets.length > 0));
}

/**
 * The manifest with the time at which it became what it is: where nothing else changed, the time of before, so that a
 * second run changes nothing. It never goes back: the clock of one who changes it may be behind that of the one before.
 */
export function withNotBefore(file: ManifestFile, before: ManifestFile | undefined, now: Date): ManifestFile {
  const known = before?.NotBefore;
  const time = encodeTime(now);
  if (before === undefined || known === undefined) return { ...file, NotBefore: time };
  const same = { ...file, NotBefore: known };
  if (encodeManifestFile(same).equals(encodeManifestFile(before))) return same;
  return { ...file, NotBefore: known > time ? known : time };
}

/** The bytes of manifest.json: the keys in the order of the specification, two spaces to indent. */
export function encodeManifestFile(file: ManifestFile): Buffer {
  const { Policies, ReferenceValues, WorkloadOwnerKeyDigests, SeedshareOwnerPubKeys, ...others } = file;
  const { WorkloadOwnerThreshold, SeedshareThreshold, CertificateLifetime, NotBefore } = others;
  const { MeshCAOverlap, WorkloadSecretOverlap } = others;
  const owners = { WorkloadOwnerKeyDigests, WorkloadOwnerThreshold, SeedshareOwnerPubKeys, SeedshareThreshold };
  const ordered = {
    Policies,
    ReferenceValues,
    ...owners,
    CertificateLifetime,
    MeshCAOverlap,
    WorkloadSecretOverlap,
    NotBefore,
  } satisfies Required<ManifestFile>;
  return Buffer.from(`${JSON.stringify(ordered, undefined, 2)}\n`);
}

/**
 * A pod with these names would get no certificate. It is said while the names are being written, and not by every pod
 * that waits for its certificate.
 *
 * @throws ManifestError certificate_too_long
 */
export function requireShortChains({ Policies }: ManifestFile): void {
  const faults = longChains(namedIn(Policies));
  if (faults.length === 0) return;
  throw new ManifestError("certificate_too_long", "the names of a policy make its certificates too long", faults);
}

/** @throws ManifestError invalid_manifest */
export function requireNoReservedNames({ Policies }: ManifestFile): void {
  const faults = reservedNames(namedIn(Policies));
  if (faults.length > 0)
    throw new ManifestError("invalid_manifest", "a workload has a name of the Coordinator's", faults);
}

function namedIn(policies: ManifestFile["Policies"]) {
  return Object.entries(policies).map(([hash, { SANs, WorkloadSecretID: workloadSecretId }]) => {
    return [hash, { sans: SANs.flatMap((name) => parseSan(name) ?? []), workloadSecretId }] as const;
  });
}

/**
 * Reads the manifest as everybody else will.
 *
 * @returns the values that are still open
 * @throws ManifestError for whatever else is wrong with it
 */
export function openValues(bytes: Buffer, file: ManifestFile): OpenValue[] {
  const open = openValuesIn(file.ReferenceValues, ["ReferenceValues"]);
  try {
    parseManifest(bytes);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const faults = error.faults.filter(({ where }) => open.every((value) => value.where !== where));
    if (faults.length > 0) throw new ManifestError(error.code, "the manifest would not be valid", faults, error);
  }
  return open;
}
