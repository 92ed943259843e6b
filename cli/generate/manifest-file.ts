import { readFile } from "node:fs/promises";
import { z } from "zod";
import { ManifestError } from "../../manifest/error.ts";
import { parseJson } from "../../manifest/json.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { faultsOf, list, record, text } from "../../manifest/schema.ts";
import { GenerateError, systemReason } from "./error.ts";
import { type OpenValue, openValuesIn } from "./open-values.ts";
import type { ReferenceValueSet, TeeKind } from "./platforms.ts";

/**
 * manifest.json while it is being written. What people change in it stays: names, secrets, reference values, owners.
 * Reference values may still be open, so this is not yet a `Manifest`.
 */
export interface ManifestFile {
  readonly Policies: Readonly<Record<string, PolicyDraft>>;
  readonly ReferenceValues: Readonly<Partial<Record<TeeKind, readonly unknown[] | undefined>>>;
  readonly WorkloadOwnerKeyDigests: readonly string[];
  readonly SeedshareOwnerPubKeys: readonly string[];
  readonly SeedshareThreshold?: number | undefined;
}

export interface PolicyDraft {
  readonly SANs: readonly string[];
  readonly WorkloadSecretID?: string | undefined;
  readonly Role?: string | undefined;
}

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
}

const sets = list(z.unknown()).optional();
const schema = record({
  Policies: z.record(
    z.string(),
    record({ SANs: list(text), WorkloadSecretID: text.optional(), Role: text.optional() }),
    { error: "an object with policy hashes" },
  ),
  ReferenceValues: record({ snp: sets, tdx: sets, insecure: sets }),
  WorkloadOwnerKeyDigests: list(text),
  SeedshareOwnerPubKeys: list(text),
  SeedshareThreshold: z.int({ error: "a whole number" }).min(1, { error: "at least 1" }).optional(),
});

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
    return parseManifestFile(bytes);
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new ManifestError(error.code, `${path} is no manifest`, error.faults, error);
  }
}

function parseManifestFile(bytes: Buffer): ManifestFile {
  const value = parseJson(bytes);
  const { data, error } = schema.safeParse(value);
  if (data === undefined) throw new ManifestError("invalid_manifest", "a key is wrong", faultsOf(error, value));
  return data;
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
    const { hash, role, defaultSans, defaultSecretId, secretId } = grant;
    const kept = before[found[index] ?? ""];
    const keptSecretId = kept === undefined ? defaultSecretId : kept.WorkloadSecretID;
    const secret = role === "coordinator" ? undefined : (secretId ?? keptSecretId);
    return [
      hash,
      {
        SANs: kept?.SANs ?? defaultSans,
        ...(secret && { WorkloadSecretID: secret }),
        ...(role !== undefined && { Role: role }),
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
 * Adds a platform's reference values where there are none of its kind; those of other hardware stay once they are filled
 * in. Those of a software TEE are always the ones of this workspace, and go when the pods move to hardware: nobody may
 * stay trusted by mistake.
 */
export function withReferenceValues(
  before: ManifestFile["ReferenceValues"],
  kind: TeeKind,
  values: ReferenceValueSet,
): ManifestFile["ReferenceValues"] {
  const kept = (other: TeeKind): readonly unknown[] => {
    const sets = other === "insecure" ? [] : (before[other] ?? []);
    if (other !== kind) return sets.filter((set) => openValuesIn(set, []).length === 0);
    return sets.length > 0 ? sets : [values];
  };
  const all = (["snp", "tdx", "insecure"] as const).map((other) => [other, kept(other)] as const);
  return Object.fromEntries(all.filter(([, sets]) => sets.length > 0));
}

/** The bytes of manifest.json: the keys in the order of the specification, two spaces to indent. */
export function encodeManifestFile(file: ManifestFile): Buffer {
  const { Policies, ReferenceValues, WorkloadOwnerKeyDigests, SeedshareOwnerPubKeys, SeedshareThreshold } = file;
  const ordered = { Policies, ReferenceValues, WorkloadOwnerKeyDigests, SeedshareOwnerPubKeys, SeedshareThreshold };
  return Buffer.from(`${JSON.stringify(ordered, undefined, 2)}\n`);
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
