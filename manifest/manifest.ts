import * as z from "zod/mini";
import { MalformedBytes } from "../bytes/cursor.ts";
import { toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { type Fault, quote } from "../runtime/fault.ts";
import { MOST_SIGNATURES, type WorkloadOwners } from "./change-signature.ts";
import {
  certificateLifetime,
  DEFAULT_CERTIFICATE_LIFETIME,
  meshCaOverlap,
  workloadSecretOverlap,
} from "./certificate-lifetime.ts";
import { ManifestError } from "./error.ts";
import { pathText, readJson } from "./json.ts";
import { type ReferenceValues, referenceValuesSchema } from "./reference-values.ts";
import { isWithinRsaLimits } from "../pki/rsa-limits.ts";
import { readSpki } from "../pki/spki.ts";
import { parseSan, type San } from "./san.ts";
import { faultsOf, list, parseWith, record, text } from "./schema.ts";
import { readTransitVersions, transitVersions, type TransitVersions } from "./transit.ts";

/**
 * The manifest (docs/design.md §6): which policies may run, on which platforms, and who may change that. Parsing is
 * strict, for whoever reads the manifest has attested the deployment: nothing in it may be ignored or mean two things.
 */
export interface Manifest {
  /** By the hash of the policy's document, 64 lower-case hexadecimal digits. */
  readonly policies: ReadonlyMap<string, PolicyEntry>;
  /** At least one set of one kind. */
  readonly referenceValues: ReferenceValues;
  /** SHA-256 of the SubjectPublicKeyInfo, 64 lower-case hexadecimal digits. Empty: nobody may change the manifest. */
  readonly workloadOwnerKeyDigests: readonly string[];
  /** How many of them a change of the manifest needs: 1 to their number, at most 16. */
  readonly workloadOwnerThreshold: number;
  /** DER SubjectPublicKeyInfo of RSA keys. */
  readonly seedshareOwnerPubKeys: readonly Uint8Array[];
  /** How many of them it takes to recover the Coordinator: 1 to their number, at most 255. */
  readonly seedshareThreshold: number;
  /** When the manifest was made: a clock that says an earlier time is wrong. */
  readonly notBefore: Date | undefined;
  /** How long a workload's certificate and the intermediate CA of its chain live: an hour to a year. */
  readonly certificateLifetimeMs: number;
  /** How long the mesh CA before stays trusted once this manifest is set: 0, or 5 minutes to the certificate lifetime. */
  readonly meshCaOverlapMs: number;
  /** How long earlier workload secrets can be read after a rekey; 0: not at all. */
  readonly workloadSecretOverlapMs: number;
}

/** What a pod with this policy is granted. */
export interface PolicyEntry {
  readonly sans: readonly San[];
  /** Pods with the same one share their secrets; undefined: no secrets. */
  readonly workloadSecretId: string | undefined;
  readonly role: "coordinator" | undefined;
  /** Of its transit key, which belongs to its WorkloadSecretID: all policies with that have the same. */
  readonly transit: TransitVersions;
}

const HASH = /^[0-9a-f]{64}$/;
const WANT_HASH = "64 lower-case hexadecimal digits";
const WANT_SAN = "an IP address, a URI with a scheme, or a DNS name";
const WANT_RSA =
  "hex of the DER SubjectPublicKeyInfo of an RSA key of 2048 to 8192 bits, with an exponent of at most 32";

/** Shamir's polynomials over GF(2^8) have 255 places to take a share from. */
const MOST_SHARES = 255;
const WANT_THRESHOLD = "a whole number from 1 to the number of $.SeedshareOwnerPubKeys";
const WANT_OWNER_THRESHOLD = `a whole number from 1 to the number of $.WorkloadOwnerKeyDigests, at most ${MOST_SIGNATURES}`;

const WANT_TIME = "a time in UTC with seconds, like 2026-05-04T03:02:01Z";

/** RFC 3339 with one form for one time: UTC, seconds, no fractions, no leap second. */
const time = z.pipe(
  z
    .string({ error: WANT_TIME })
    .check(
      z.refine((text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) && encodeTime(new Date(text)) === text, {
        error: WANT_TIME,
      }),
    ),
  z.transform((text) => new Date(text)),
);

const DEFAULT_LIFETIME_MS = certificateLifetime.parse(DEFAULT_CERTIFICATE_LIFETIME);

const hash = z.string({ error: WANT_HASH }).check(z.regex(HASH, { error: WANT_HASH }));

const san = z.pipe(
  z.string({ error: WANT_SAN }),
  z.transform((name, context): San => {
    const parsed = parseSan(name);
    if (parsed !== undefined) return parsed;
    context.issues.push({ code: "custom", message: WANT_SAN, input: name });
    return z.NEVER;
  }),
);

const seedshareOwner = z.pipe(
  z.string({ error: WANT_RSA }).check(z.refine((hex) => isRsaSpki(fromHex(hex)), { error: WANT_RSA })),
  z.transform((hex): Uint8Array => fromHex(hex) ?? z.NEVER),
);

const policyKeys = record({
  SANs: list(san),
  WorkloadSecretID: z.optional(text),
  Transit: z.optional(transitVersions),
  Role: z.optional(z.enum(["", "coordinator"], { error: '"coordinator" or ""' })),
  /** What the policy lets the host do beside what every pod needs. For people: the policy itself decides. */
  Permissions: z.optional(list(text)),
});

const policyEntry = z.pipe(
  policyKeys,
  z.transform(({ SANs, WorkloadSecretID, Transit, Role }, context): PolicyEntry => {
    // An empty identifier would be one that all who forgot theirs share.
    const workloadSecretId = WorkloadSecretID || undefined;
    if (Transit !== undefined && workloadSecretId === undefined) {
      context.issues.push({
        code: "custom",
        path: ["Transit"],
        message: "a WorkloadSecretID beside it",
        input: Transit,
      });
    }
    return { sans: SANs, workloadSecretId, role: Role || undefined, transit: readTransitVersions(Transit) };
  }),
);

/** The keys and their order, for whoever writes one. */
export const manifestSchema = record({
  // The keys are checked apart: zod passes over a key `__proto__`.
  Policies: z.record(z.string(), policyEntry, { error: "an object with policy hashes" }),
  ReferenceValues: referenceValuesSchema,
  WorkloadOwnerKeyDigests: list(hash),
  WorkloadOwnerThreshold: z.optional(
    z
      .int({ error: WANT_OWNER_THRESHOLD })
      .check(
        z.minimum(1, { error: WANT_OWNER_THRESHOLD }),
        z.maximum(MOST_SIGNATURES, { error: WANT_OWNER_THRESHOLD }),
      ),
  ),
  SeedshareOwnerPubKeys: list(seedshareOwner),
  SeedshareThreshold: z.optional(z.int({ error: WANT_THRESHOLD }).check(z.minimum(1, { error: WANT_THRESHOLD }))),
  NotBefore: z.optional(time),
  CertificateLifetime: z.optional(certificateLifetime),
  MeshCAOverlap: z.optional(meshCaOverlap),
  WorkloadSecretOverlap: z.optional(workloadSecretOverlap),
}).check(
  z.superRefine((manifest, context) => {
    const { SeedshareOwnerPubKeys: owners, SeedshareThreshold: threshold = 1 } = manifest;
    const { CertificateLifetime: lifetime = DEFAULT_LIFETIME_MS, MeshCAOverlap: overlap = 0 } = manifest;
    const fault = (path: (string | number)[], message: string): void => {
      context.addIssue({ code: "custom", path, message });
    };
    // No certificate of before lives longer: the rest of the time would serve who stole the mesh CA's key, and nobody else.
    if (overlap > lifetime) fault(["MeshCAOverlap"], "a duration not longer than $.CertificateLifetime");
    const { WorkloadOwnerKeyDigests: workloadOwners, WorkloadOwnerThreshold: needed = 1 } = manifest;
    // Without owners there is nobody whom a threshold could ask for, and one that can't be met is a typing error.
    if (needed > 1 && needed > new Set(workloadOwners).size) fault(["WorkloadOwnerThreshold"], WANT_OWNER_THRESHOLD);
    // Pods that share a key would not decrypt what the others encrypt.
    const versions = new Map<string, TransitVersions>();
    for (const [hash, entry] of Object.entries(manifest.Policies)) {
      // Of an entry with a fault there is no more than was written.
      const { workloadSecretId: id, transit }: Partial<PolicyEntry> = entry;
      if (id === undefined || transit === undefined) continue;
      const { latest, minimum } = versions.get(id) ?? transit;
      versions.set(id, { latest, minimum });
      if (transit.latest === latest && transit.minimum === minimum) continue;
      fault(["Policies", hash, "Transit"], "the versions that other policies with this WorkloadSecretID have");
    }
    // An owner who stands there twice would have two shares, and so be two of those whom the threshold asks for.
    const seen = new Set<string>();
    for (const [index, owner] of owners.entries()) {
      if (seen.has(toHex(owner))) fault(["SeedshareOwnerPubKeys", index], "each key once");
      seen.add(toHex(owner));
    }
    if (threshold === 1) return;
    if (owners.length > MOST_SHARES) fault(["SeedshareOwnerPubKeys"], `at most ${MOST_SHARES} keys with a threshold`);
    if (threshold > owners.length) fault(["SeedshareThreshold"], WANT_THRESHOLD);
  }),
);

/**
 * @param bytes of manifest.json, as they are hashed and stored
 * @throws ManifestError malformed_json, duplicate_key, invalid_manifest; with all faults at once
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const { value, duplicates } = readJson(bytes);
  const { data, error } = parseWith(manifestSchema, value);
  const faults = [...duplicates, ...policyKeyFaults(value), ...faultsOf(error, value)];
  if (data === undefined || faults.length > 0) {
    const code = duplicates.length > 0 ? "duplicate_key" : "invalid_manifest";
    throw new ManifestError(code, "this is no valid manifest", faults);
  }
  return {
    policies: new Map(Object.entries(data.Policies)),
    referenceValues: data.ReferenceValues,
    workloadOwnerKeyDigests: data.WorkloadOwnerKeyDigests,
    workloadOwnerThreshold: data.WorkloadOwnerThreshold ?? 1,
    seedshareOwnerPubKeys: data.SeedshareOwnerPubKeys,
    seedshareThreshold: data.SeedshareThreshold ?? 1,
    notBefore: data.NotBefore,
    certificateLifetimeMs: data.CertificateLifetime ?? DEFAULT_LIFETIME_MS,
    meshCaOverlapMs: data.MeshCAOverlap ?? 0,
    workloadSecretOverlapMs: data.WorkloadSecretOverlap ?? 0,
  };
}

/** Whose leave the manifest asks for before another takes its place. */
export function workloadOwnersOf(manifest: Manifest): WorkloadOwners {
  return { keys: manifest.workloadOwnerKeyDigests, threshold: manifest.workloadOwnerThreshold };
}

/** A time as the manifest has it: in UTC, the second that it lies in. @returns what is no time where it is none */
export function encodeTime(time: Date): string {
  return Number.isNaN(time.getTime()) ? "" : time.toISOString().replace(/\.\d{3}Z$/, "Z");
}

function policyKeyFaults(value: unknown): Fault[] {
  const policies = (value as { readonly Policies?: unknown } | null)?.Policies;
  if (typeof policies !== "object" || policies === null || Array.isArray(policies)) return [];
  return Object.keys(policies)
    .filter((key) => !HASH.test(key))
    .map((key) => ({ where: pathText(["Policies", key]), got: quote(key), want: WANT_HASH }));
}

/** One key has one encoding here. What has to be of the numbers in it is RSA_LIMITS's to say. */
function isRsaSpki(der: Uint8Array | undefined): boolean {
  if (der === undefined) return false;
  try {
    const key = readSpki(der);
    return key.kind === "rsa" && isWithinRsaLimits(key);
  } catch (error) {
    if (error instanceof MalformedBytes) return false;
    throw error;
  }
}
