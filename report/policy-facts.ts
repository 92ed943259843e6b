import { fromUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { policyHash, regoOf } from "../manifest/initdata.ts";
import { readTransitVersions, type TransitVersions } from "../manifest/transit.ts";
import type { Generation } from "./generation.ts";
import { areOwnRules, type ParsedPolicy, parsePolicy, podName, type PolicyData } from "./parsed-policy.ts";

/** A policy that a manifest of the history lists. */
export interface PolicyFacts {
  /** SHA-256 of the initdata document, hex: what the VM is launched with. */
  readonly hash: string;
  /** How its pod is called. */
  readonly pod: string;
  /** The manifest in force lists it. */
  readonly active: boolean;
  /** The first and the last manifest that lists it. */
  readonly first: number;
  readonly last: number;
  /** What the last of them grants. */
  readonly sans: readonly string[];
  readonly role: string | null;
  readonly workloadSecretId: string | null;
  /** Versions of its transit key; null where it has none. */
  readonly transit: TransitVersions | null;
  /** SHA-256 of its rules; null where it is not of the form that `generate` makes. */
  readonly rules: string | null;
  /** `policy_data`, with everything in it. */
  readonly data: PolicyData | null;
  /** The whole policy in Rego, where there is no data; null as well where the Coordinator did not give it out. */
  readonly text: string | null;
}

/** What stands before the data, the same in many policies. */
export interface RulesFacts {
  readonly sha256: string;
  /** This version of `generate` makes them. */
  readonly known: boolean;
  readonly text: string;
}

/** @param documents initdata @throws ManifestError malformed_initdata */
export function parsePolicies(documents: readonly Uint8Array[]): Map<string, ParsedPolicy> {
  return new Map(documents.map((document) => [policyHash(document), parsePolicy(regoOf(document))]));
}

/** Those of the manifest in force first. */
export function policyFacts(
  policies: ReadonlyMap<string, ParsedPolicy>,
  history: readonly Generation[],
): PolicyFacts[] {
  const listed = history.flatMap(({ number, content }) => content?.pods.map((pod) => ({ number, pod })) ?? []);
  const facts = [...Map.groupBy(listed, ({ pod }) => pod.hash)].map(([hash, listings]): PolicyFacts => {
    const [first, last] = [listings[0], listings.at(-1)];
    const { SANs = [], Role, WorkloadSecretID, Transit } = last?.pod.grant ?? {};
    const policy = policies.get(hash);
    const generated = policy?.generated;
    return {
      hash,
      pod: podName(policy, SANs),
      active: last?.number === history.length,
      first: first?.number ?? 0,
      last: last?.number ?? 0,
      sans: SANs,
      role: Role || null,
      workloadSecretId: WorkloadSecretID || null,
      transit: WorkloadSecretID ? readTransitVersions(Transit) : null,
      rules: generated === undefined ? null : sha256Hex(fromUtf8(generated.rules)),
      data: generated?.data ?? null,
      text: generated === undefined ? (policy?.rego ?? null) : null,
    };
  });
  return facts.toSorted((a, b) => Number(b.active) - Number(a.active));
}

/** Each once. */
export function rulesFacts(policies: Iterable<ParsedPolicy>): RulesFacts[] {
  const texts = new Set([...policies].flatMap(({ generated }) => (generated === undefined ? [] : [generated.rules])));
  return [...texts].map((text) => ({ sha256: sha256Hex(fromUtf8(text)), known: areOwnRules(text), text }));
}
