import { faultLines } from "../../manifest/error.ts";
import type { PolicyEntry } from "../../manifest/manifest.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { CliError } from "../context.ts";
import type { CollectedPolicy } from "../../policy/collected-policies.ts";
import type { ManifestAtHand } from "./manifest-at-hand.ts";

/**
 * Files and manifest have to be of one `generate`: a pod whose policy the manifest lacks would get no certificate, and a
 * policy that no file has would let something run that nobody has read.
 *
 * @param predecessors hashes of policies that need no file
 * @throws CliError policy_mismatch, with every pod and every policy that has no counterpart
 */
export function requireSamePolicies(
  policies: readonly CollectedPolicy[],
  { path, manifest }: ManifestAtHand,
  predecessors: readonly string[] = [],
): void {
  const strangers = policies
    .filter(({ hash }) => !manifest.policies.has(hash))
    .map(({ where, hash, ...pod }) => ({
      where: `${where}, ${podName(pod)}`,
      got: `policy ${hash}`,
      want: `a policy of ${path}: run \`contrast generate\` on the files of the whole deployment`,
    }));
  const present = new Set([...policies.map(({ hash }) => hash), ...predecessors]);
  const missing = [...manifest.policies]
    .filter(([hash]) => !present.has(hash))
    .map(([hash, entry]) => ({
      where: `${path}, $.Policies["${hash}"]`,
      got: `the policy of ${entryName(entry)}, which no given file has`,
      want: "its file too; or take the policy out of the manifest, if its pods are gone",
    }));
  const faults = [...strangers, ...missing];
  if (faults.length === 0) return;
  throw new CliError("policy_mismatch", `the files and the manifest do not belong together, ${faultLines(faults)}`);
}

/**
 * The Coordinators of before, which the manifest keeps for an upgrade beside those of the files (`generate`). No file has
 * their policies any more, but the history has.
 *
 * @returns their hashes
 */
export function predecessorsIn(policies: readonly CollectedPolicy[], { manifest }: ManifestAtHand): readonly string[] {
  const isCoordinator = (hash: string): boolean => manifest.policies.get(hash)?.role === "coordinator";
  const present = new Set(policies.map(({ hash }) => hash));
  if (![...present].some(isCoordinator)) return [];
  return [...manifest.policies.keys()].filter((hash) => isCoordinator(hash) && !present.has(hash));
}

/**
 * @param known documents of policies that were in force, from an attested Coordinator
 * @returns the documents of predecessors
 * @throws CliError policy_mismatch where one was never in force
 */
export function documentsOf(
  predecessors: readonly string[],
  known: readonly Uint8Array[],
  policies: readonly CollectedPolicy[],
  atHand: ManifestAtHand,
): Uint8Array[] {
  const byHash = new Map(known.map((document) => [sha256Hex(document), document]));
  requireSamePolicies(
    policies,
    atHand,
    predecessors.filter((hash) => byHash.has(hash)),
  );
  return predecessors.flatMap((hash) => byHash.get(hash) ?? []);
}

function podName({ kind, namespace, name }: Pick<CollectedPolicy, "kind" | "namespace" | "name">): string {
  return `${kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

/** How a person knows the pods of a policy, by what the manifest says about them. */
export function entryName({ sans, workloadSecretId, role }: PolicyEntry): string {
  const names = sans.length === 0 ? "no names" : sans.map(({ value }) => value).join(", ");
  const secret = workloadSecretId === undefined ? "" : `, workload secret ${workloadSecretId}`;
  return `${names}${secret}${role === undefined ? "" : `, role ${role}`}`;
}
