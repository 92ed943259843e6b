import { toUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { ManifestError } from "../manifest/error.ts";
import { type Manifest, parseManifest, type PolicyEntry } from "../manifest/manifest.ts";
import { type ParsedPolicy, podName } from "./parsed-policy.ts";

/** One step of the history, whose signatures were checked. */
export interface HistoryRecord {
  readonly manifest: Uint8Array;
  /** SHA-256 of the transition that put it in force, hex. */
  readonly transition: string;
  /** SHA-256 of the keys of the workload owners who signed it, hex. */
  readonly signedBy: readonly string[];
  /** SHA-256 of the root CA's SubjectPublicKeyInfo, hex: another one than before is a rekey that they signed. */
  readonly rootKey: string;
}

/** One manifest of the history, with the policies that it lists. */
export interface Generation extends Omit<HistoryRecord, "manifest"> {
  /** From 1, the first `set`. */
  readonly number: number;
  /** Of the manifest's bytes, hex. */
  readonly sha256: string;
  /** Why this version can't read it; then there is no content. */
  readonly problem: string | undefined;
  readonly content: Content | undefined;
}

export interface Content {
  readonly manifest: Manifest;
  /** The same as it is written, for texts and paths. */
  readonly document: ManifestDocument;
  readonly pods: readonly Pod[];
}

/** The JSON of a manifest that was parsed before, so that it has this form. */
export interface ManifestDocument {
  readonly Policies: Readonly<Record<string, Grant>>;
  readonly ReferenceValues: Readonly<Record<string, readonly ReferenceValueSet[]>>;
  readonly CertificateLifetime?: string;
  readonly WorkloadSecretOverlap?: string;
  readonly MeshCAOverlap?: string;
}

export interface Grant {
  readonly SANs: readonly string[];
  readonly WorkloadSecretID?: string;
  readonly Transit?: { readonly LatestVersion?: number; readonly MinimumVersion?: number };
  readonly Role?: string;
}

export type ReferenceValueSet = Readonly<Record<string, unknown>>;

/** What may run: a policy, and what it is granted. */
export interface Pod extends PolicyEntry {
  readonly hash: string;
  readonly name: string;
  readonly grant: Grant;
  /** Undefined where the Coordinator did not give it out. */
  readonly policy: ParsedPolicy | undefined;
}

/** @param policies by their hash */
export function readGeneration(
  number: number,
  { manifest: bytes, transition, signedBy, rootKey }: HistoryRecord,
  policies: ReadonlyMap<string, ParsedPolicy>,
): Generation {
  const names = { number, sha256: sha256Hex(bytes), transition, signedBy, rootKey };
  try {
    return { ...names, problem: undefined, content: readContent(bytes, policies) };
  } catch (error) {
    // A later version may know keys that this one does not.
    if (!(error instanceof ManifestError)) throw error;
    return { ...names, problem: error.describe(), content: undefined };
  }
}

function readContent(bytes: Uint8Array, policies: ReadonlyMap<string, ParsedPolicy>): Content {
  const manifest = parseManifest(bytes);
  const document = JSON.parse(toUtf8(bytes)) as ManifestDocument;
  const pods = [...manifest.policies].map(([hash, entry]): Pod => {
    const policy = policies.get(hash);
    const grant = document.Policies[hash] ?? { SANs: [] };
    return { hash, ...entry, name: podName(policy, grant.SANs), grant, policy };
  });
  return { manifest, document, pods };
}
