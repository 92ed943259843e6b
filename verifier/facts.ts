import { toUtf8 } from "../bytes/encode.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import type { AuthorityCertificate } from "./certificate-authority.ts";
import type { Verification, VerifiedStep } from "./deployment.ts";
import { newestSigned } from "./signed-times.ts";
import type { CaCertificate, DeploymentFacts, HistoryStep } from "./types.ts";

/** What callers see of a verification. Digests are taken, so this is a decision (crypto/primitives.ts). */
export function deploymentFacts(verification: Verification): DeploymentFacts {
  const { claimant, manifestBytes, steps, transition, referenceValues, rootCa, meshCa, policies } = verification;
  const { time, what } = newestSigned(claimant.evidence);
  return {
    insecure: claimant.evidence.simulated,
    coordinator: {
      tee: claimant.evidence.kind,
      policy: claimant.policyHash,
      referenceValues,
      claims: { ...claimant.claims },
    },
    manifest: { sha256: transition.manifest, text: toUtf8(manifestBytes), generation: steps.at(-1)?.generation ?? 0 },
    transition: transition.digest,
    history: steps.map(historyStep),
    rootCa: caCertificate(rootCa),
    meshCa: caCertificate(meshCa),
    policies: Object.fromEntries(Array.from(policies, ([hash, document]) => [hash, toUtf8(document)])),
    signed: { time: time.toISOString(), what },
  };
}

function historyStep({ transition, kind, generation }: VerifiedStep): HistoryStep {
  return {
    transition: transition.digest,
    kind,
    generation,
    manifest: transition.manifest,
    annex: transition.annex ?? null,
    signedBy: transition.signatures.map(({ publicKey }) => sha256Hex(publicKey)),
  };
}

function caCertificate({ pem, keyDigest, notBefore, notAfter }: AuthorityCertificate): CaCertificate {
  return { pem, keySha256: keyDigest, notBefore: notBefore.toISOString(), notAfter: notAfter.toISOString() };
}

/** @returns the same, which nobody can change any more */
export function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) frozen(inner);
    Object.freeze(value);
  }
  return value;
}
