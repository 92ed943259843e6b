import type { Annex } from "../manifest/annex.ts";
import { annexChanges, annexSummary, byPath } from "./annex-changes.ts";
import { podsOf, type Workload } from "./workloads.ts";
import type { Change } from "./manifest-changes.ts";

/** What owners changed without another manifest, and what of it is in force. */

/** One amendment of the history. */
export interface AmendmentFacts {
  /** From 1, in the order of the history. */
  readonly number: number;
  /** Number of the manifest that was in force. */
  readonly generation: number;
  /** `use`: the Coordinator counted a leave to format a volume as used, which nobody signs. */
  readonly kind: "amendment" | "use";
  readonly transition: string;
  /** SHA-256 of the annex that it put in force, hex. */
  readonly annex: string;
  /** SHA-256 of the keys of the workload owners who signed it, hex. */
  readonly signedBy: readonly string[];
  /** One line for each secret and volume. */
  readonly summary: readonly string[];
  readonly changes: readonly Change[];
}

/** What `verify` knows of one. */
export interface AmendmentRecord extends Omit<AmendmentFacts, "number" | "summary" | "changes"> {
  readonly before: Annex;
  readonly after: Annex;
}

export interface SecretFacts {
  readonly name: string;
  /** Of all that there ever were. */
  readonly latestVersion: number;
  /** What can be read now, the latest first. None: it was removed. */
  readonly versions: readonly SecretVersionFacts[];
}

export interface SecretVersionFacts {
  readonly version: number;
  readonly readers: readonly ReaderFacts[];
  /** SHA-256 of the ciphertext, hex. */
  readonly ciphertext: string;
}

export interface ReaderFacts {
  /** `policy:<hash>` or `workload:<WorkloadSecretID>` */
  readonly reader: string;
  /** Those of the manifest in force. */
  readonly pods: readonly string[];
}

export interface VolumeFacts {
  readonly volume: string;
  readonly workloadSecretId: string;
  readonly pods: readonly string[];
  readonly formatsAllowed: number;
  readonly formatsUsed: number;
}

export function amendmentFacts(records: readonly AmendmentRecord[]): AmendmentFacts[] {
  return records.map(({ before, after, ...record }, index) => ({
    number: index + 1,
    ...record,
    summary: annexSummary(before, after),
    changes: annexChanges(before, after),
  }));
}

export function secretFacts({ secrets }: Annex, workloads: readonly Workload[]): SecretFacts[] {
  return [...secrets].map(([name, { latestVersion, versions }]) => ({
    name,
    latestVersion,
    versions: versions.map(({ version, readers, sealed }) => ({
      version,
      readers: readers.map((reader) => ({ reader, pods: podsOf(reader, workloads) })),
      ciphertext: sealed,
    })),
  }));
}

export function volumeFacts(annex: Annex, workloads: readonly Workload[]): VolumeFacts[] {
  return [...byPath(annex)].map(([path, { allowed, used }]) => {
    const at = path.lastIndexOf("/");
    const workloadSecretId = path.slice(0, at);
    const pods = podsOf(`workload:${workloadSecretId}`, workloads);
    return { volume: path.slice(at + 1), workloadSecretId, pods, formatsAllowed: allowed, formatsUsed: used };
  });
}
