import { sha256Hex } from "../bytes/sha256.ts";
import { type Annex, EMPTY_ANNEX } from "../manifest/annex.ts";
import type { VerifiedClaimant } from "../manifest/appraise.ts";
import { caOf } from "../manifest/attested-history.ts";
import { isRekey } from "../manifest/history.ts";
import { INSECURE } from "./insecure.ts";
import type { Workload } from "./workloads.ts";
import {
  type AmendmentFacts,
  amendmentFacts,
  type AmendmentRecord,
  type SecretFacts,
  secretFacts,
  type VolumeFacts,
  volumeFacts,
} from "./annex-facts.ts";
import { annexTimeline } from "./annex-timeline.ts";
import {
  type CertificateFacts,
  certificateFacts,
  chainFacts,
  clockWarnings,
  expiryWarnings,
  keyType,
} from "./certificate-facts.ts";
import type { Binding } from "./comparison.ts";
import { earlierCertificatesEnd } from "./earlier-certificates.ts";
import { type EvidenceFacts, evidenceFacts } from "./evidence-facts.ts";
import { type Generation, type HistoryRecord, type ManifestDocument, type Pod, readGeneration } from "./generation.ts";
import { type Change, lifetimeOf, manifestChanges } from "./manifest-changes.ts";
import { parsePolicies, type PolicyFacts, policyFacts, type RulesFacts, rulesFacts } from "./policy-facts.ts";
import { timelineOf } from "./timeline.ts";
import type { TimelineEntry } from "./timeline-entry.ts";

/**
 * Everything that `contrast verify` found out: the JSON that it prints and the page that it writes are two forms of it.
 * docs/verify.md explains the keys. What is not there is null.
 */
export interface AuditFacts {
  readonly result: "verified";
  /** One sentence. */
  readonly verdict: string;
  /** Why nothing is proven. */
  readonly insecure: string | null;
  /** When it was verified, ISO 8601. */
  readonly time: string;
  /** Of a statement that was saved: what the vendor signed at this time, after which all of it was true. */
  readonly after: string | null;
  /** Of the CLI. */
  readonly version: string;
  /** `host:port` */
  readonly coordinator: string;
  /** SHA-256 of the manifest in force, hex. */
  readonly manifest: string;
  /** How many manifests there were, with the one in force. */
  readonly generation: number;
  readonly evidence: EvidenceFacts;
  /** Of the manifest in force, as it is written. */
  readonly referenceValues: ManifestDocument["ReferenceValues"];
  /** SHA-256 of the keys, hex. */
  readonly workloadOwners: readonly string[];
  /** How many of them a change of the manifest in force needs. */
  readonly workloadOwnerThreshold: number;
  readonly seedShareOwners: readonly KeyFacts[];
  readonly seedShareThreshold: number;
  readonly timeline: readonly TimelineEntry[];
  /** Oldest first. */
  readonly history: readonly HistoryFacts[];
  /** What changed without another manifest, oldest first. */
  readonly amendments: readonly AmendmentFacts[];
  /** SHA-256 of the annex in force, hex; null where there was no amendment. */
  readonly annex: string | null;
  readonly secrets: readonly SecretFacts[];
  readonly volumes: readonly VolumeFacts[];
  readonly policies: readonly PolicyFacts[];
  readonly rules: readonly RulesFacts[];
  readonly certificates: readonly CertificateFacts[];
  /** Of workloads' certificates, as the manifest in force says or does not say: `8760h`. */
  readonly certificateLifetime: string;
  /** Until when whoever trusts the root CA may meet certificates of earlier generations, ISO 8601. */
  readonly earlierCertificatesUntil: string;
}

export interface KeyFacts {
  /** Of the SubjectPublicKeyInfo, hex. */
  readonly sha256: string;
  readonly key: string;
}

export interface HistoryFacts {
  readonly generation: number;
  readonly sha256: string;
  readonly transition: string;
  /** SHA-256 of the keys of the workload owners who signed it, hex; nobody signs the first. */
  readonly signedBy: readonly string[];
  /** SHA-256 of the root CA's key, hex. */
  readonly rootKey: string;
  /** Whether it came with a new seed and so another root CA, which those who signed it allowed (`contrast rekey`). */
  readonly rekey: boolean;
  /** How many policies it lists; null where this version can't read it. */
  readonly policies: number | null;
  /** Since the manifest before; null where one of the two can't be read, or there is none before. */
  readonly changes: readonly Change[] | null;
}

/** What `verify` has when the Coordinator has proven itself and enforces the manifest at hand. */
export interface AuditInput {
  readonly version: string;
  readonly at: Date;
  readonly address: string;
  readonly coordinator: VerifiedClaimant;
  /** What its evidence was made for; left out: the connection. */
  readonly binding?: Binding;
  /** What was signed at the time `at`, where this is about some time after it. */
  readonly after?: string;
  /** Oldest first, the last one in force. */
  readonly history: readonly HistoryRecord[];
  /** Oldest first. */
  readonly amendments: readonly AmendmentRecord[];
  /** In force, and its SHA-256, hex; undefined: there was no amendment. */
  readonly annex: { readonly digest: string; readonly content: Annex } | undefined;
  /** Initdata documents. */
  readonly policies: readonly Uint8Array[];
  /** PEM. */
  readonly rootCa: string;
  readonly meshCa: string;
}

/**
 * @throws ManifestError where a policy is no initdata document; HistoryError where a CA is no certificate; RangeError without a
 *   manifest
 */
export function auditFacts(input: AuditInput): AuditFacts {
  const policies = parsePolicies(input.policies);
  const history = input.history.map((record, index) => readGeneration(index + 1, record, policies));
  const active = history.at(-1);
  if (active?.content === undefined) throw new RangeError("there is no manifest in force, or it was not parsed before");
  const { manifest, document } = active.content;
  const evidence = evidenceFacts(input.coordinator.evidence, manifest, input.binding);
  const meshCa = caOf(input.meshCa, "mesh CA");
  const certificates = [
    certificateFacts("root CA", caOf(input.rootCa, "root CA")),
    certificateFacts("mesh CA", meshCa),
    ...chainFacts(input.coordinator.evidence.path),
  ];
  const warning =
    (code: TimelineEntry["code"]) =>
    (text: string): TimelineEntry => ({ generation: active.number, level: "warning", code, text });
  const dates = [
    ...expiryWarnings(certificates, input.at).map(warning("certificate_expires")),
    ...clockWarnings(certificates, input.at).map(warning("certificate_not_yet_valid")),
  ];
  const annex = input.annex?.content ?? EMPTY_ANNEX;
  const workloads = active.content.pods.filter(({ role }) => role !== "coordinator").map(workloadOf);
  const isInsecure = input.coordinator.claims.insecure;
  return {
    result: "verified",
    verdict: verdictOf(input, evidence, active.number),
    insecure: isInsecure ? INSECURE : null,
    time: input.at.toISOString(),
    after: input.after ?? null,
    version: input.version,
    coordinator: input.address,
    manifest: active.sha256,
    generation: active.number,
    evidence,
    referenceValues: document.ReferenceValues,
    workloadOwners: manifest.workloadOwnerKeyDigests,
    workloadOwnerThreshold: manifest.workloadOwnerThreshold,
    seedShareOwners: manifest.seedshareOwnerPubKeys.map((der) => ({ sha256: sha256Hex(der), key: keyType(der) })),
    seedShareThreshold: manifest.seedshareThreshold,
    timeline: [...merged(timelineOf(history), annexTimeline(input.amendments)), ...dates],
    history: history.map((generation, index) => historyFacts(history[index - 1], generation)),
    amendments: amendmentFacts(input.amendments),
    annex: input.annex?.digest ?? null,
    secrets: secretFacts(annex, workloads),
    volumes: volumeFacts(annex, workloads),
    policies: policyFacts(policies, history),
    rules: rulesFacts(policies.values()),
    certificates,
    certificateLifetime: lifetimeOf(active.content),
    earlierCertificatesUntil: earlierCertificatesEnd(meshCa.notBefore, history).toISOString(),
  };
}

/** By manifest: what amendments did comes after what their manifest did. */
function merged(one: readonly TimelineEntry[], other: readonly TimelineEntry[]): TimelineEntry[] {
  return [...one, ...other].toSorted((a, b) => a.generation - b.generation);
}

function workloadOf({ hash, name, workloadSecretId }: Pod): Workload {
  return { policy: hash, pod: name, names: [], workloadSecretId };
}

function verdictOf(
  { address, at, after, coordinator }: AuditInput,
  { platform, referenceValues }: EvidenceFacts,
  number: number,
): string {
  const isInsecure = coordinator.claims.insecure;
  const matched = `its evidence matches ${referenceValues}`;
  if (after === undefined) {
    const found = `${matched}, and it enforces manifest ${number}, which is the one at hand`;
    return isInsecure
      ? `The Coordinator at ${address} is simulated, so this proves nothing about hardware; ${found}.`
      : `The Coordinator at ${address} runs in a confidential VM (${platform}); ${found}.`;
  }
  const found = `${matched}, and it enforced manifest ${number}, which is the one at hand, at some time after ${at.toISOString()}`;
  return isInsecure
    ? `The Coordinator was simulated, so this proves nothing about hardware; ${found}.`
    : `The Coordinator ran in a confidential VM (${platform}); ${found}.`;
}

function historyFacts(
  before: Generation | undefined,
  { number, sha256, transition, signedBy, rootKey, content }: Generation,
): HistoryFacts {
  const comparable = before?.content !== undefined && content !== undefined;
  return {
    generation: number,
    sha256,
    transition,
    signedBy,
    rootKey,
    rekey: before !== undefined && isRekey(before, { rootKey }),
    policies: content?.pods.length ?? null,
    changes: comparable ? manifestChanges(before.content, content) : null,
  };
}
