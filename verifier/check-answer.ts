import { checkTime } from "../attestation/clock.ts";
import { policyField } from "../attestation/policy-hash.ts";
import { httpReportData } from "../attestation/report-data.ts";
import { rootOf } from "../attestation/nonce-tree.ts";
import { MalformedBytes } from "../bytes/cursor.ts";
import { isEqual, toHex } from "../bytes/encode.ts";
import { fromHex } from "../bytes/hex.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { matchReferenceValues, type VerifiedClaimant, verifyComplete } from "../manifest/appraise.ts";
import { HistoryError } from "../manifest/history.ts";
import { type Manifest, parseManifest } from "../manifest/manifest.ts";
import { parseTransition, type Transition } from "../manifest/transition.ts";
import type { Answer } from "./answer.ts";
import { type AuthorityCertificate, readAuthority } from "./certificate-authority.ts";
import { VerifyError } from "./error.ts";

/**
 * The decision about one answer: made for this nonce, by a Coordinator that this manifest lists, which enforces this very
 * manifest and has these CA keys. The history before the latest transition is looked at elsewhere (deployment.ts).
 */
export interface Expected {
  /** 32 bytes. */
  readonly nonce: Uint8Array;
  /** The bytes of the manifest. */
  readonly manifest: Uint8Array;
  /** Of the Coordinator, hex; undefined: one that the manifest lists as a Coordinator's. */
  readonly policy: string | undefined;
  readonly allowInsecure: boolean;
  /** The time to verify for. */
  readonly at: Date;
  /**
   * Whether the answer was kept, and `at` is a time before it, and no clock's. Its CA certificates may be younger then: they are
   * the Coordinator's own, which made them when it came to power.
   */
  readonly saved: boolean;
}

export interface CheckedAnswer {
  readonly claimant: VerifiedClaimant;
  readonly manifest: Manifest;
  /** JSON path of the set of reference values that matched. */
  readonly referenceValues: string;
  readonly transition: Transition;
  readonly rootCa: AuthorityCertificate;
  readonly meshCa: AuthorityCertificate;
}

/** @throws VerifyError, EvidenceError, ManifestError, HistoryError, Refusal */
export function checkAnswer(answer: Answer, expected: Expected): CheckedAnswer {
  const { at, allowInsecure, saved } = expected;
  const manifest = parseManifest(expected.manifest);
  requireInsecure(manifest, allowInsecure);
  if (!saved) checkTime(at, { built: undefined, signed: undefined, notBefore: manifest.notBefore });
  requireNonce(answer, expected);
  const transition = readTransition(answer.transition, "transition");
  // Before the evidence: whose manifest it is decides by what the evidence is judged.
  requireManifest(transition, expected);
  const rootCa = readAuthority("root CA", answer.rootCa, { at, saved });
  const meshCa = readAuthority("mesh CA", answer.meshCa, { at, saved });
  const reportData = httpReportData({
    treeRoot: rootOf(answer.nonce, answer.path),
    transition: bytesOf(transition.digest),
    rootKey: bytesOf(rootCa.keyDigest),
    meshKey: bytesOf(meshCa.keyDigest),
  });
  const claimant = verifyComplete({ evidence: answer.evidence, reportData }, manifest, { allowInsecure, at });
  const referenceValues = matchReferenceValues(claimant.evidence, manifest);
  requireCoordinator(claimant, manifest, expected.policy);
  requireRoot(transition, rootCa);
  return { claimant, manifest, referenceValues, transition, rootCa, meshCa };
}

function requireInsecure({ referenceValues: { insecure } }: Manifest, allowInsecure: boolean): void {
  if (insecure.length === 0 || allowInsecure) return;
  throw new VerifyError("insecure_not_allowed", "the manifest trusts a software TEE, which proves nothing", {
    where: "$.ReferenceValues.insecure",
    got: `${insecure.length} software TEEs`,
    want: "none",
    hint: "allow it if this is a test or a demonstration",
  });
}

function requireNonce(answer: Answer, { nonce }: Expected): void {
  if (isEqual(answer.nonce, nonce)) return;
  throw new VerifyError("nonce_mismatch", "this answers another request: something in between keeps answers", {
    where: "nonce",
    got: toHex(answer.nonce),
    want: toHex(nonce),
  });
}

function requireManifest({ manifest }: Transition, expected: Expected): void {
  const digest = sha256Hex(expected.manifest);
  if (manifest === digest) return;
  throw new VerifyError("manifest_mismatch", "the Coordinator enforces another manifest than the one at hand", {
    where: "transition.manifest",
    got: manifest,
    want: digest,
    hint: "ask the workload owner for the manifest that is in force, and read it before you trust it",
  });
}

function requireCoordinator(claimant: VerifiedClaimant, manifest: Manifest, pinned: string | undefined): void {
  const { policyHash } = claimant;
  const where = policyField(claimant.evidence.kind);
  if (pinned !== undefined) {
    if (policyHash === pinned) return;
    throw new VerifyError("not_coordinator", "the evidence is of another policy than the Coordinator's", {
      where,
      got: policyHash,
      want: pinned,
    });
  }
  if (manifest.policies.get(policyHash)?.role === "coordinator") return;
  const wanted = [...manifest.policies].filter(([, { role }]) => role === "coordinator").map(([hash]) => hash);
  throw new VerifyError(
    "not_coordinator",
    "the evidence is of a policy that the manifest does not list as a Coordinator",
    {
      where,
      got: policyHash,
      want: wanted.join(" or ") || "a policy with Role coordinator, of which the manifest has none",
      hint: "a workload of the deployment answers in the Coordinator's place",
    },
  );
}

function requireRoot({ rootKey }: Transition, rootCa: AuthorityCertificate): void {
  if (rootKey === rootCa.keyDigest) return;
  throw new VerifyError("ca_mismatch", "the root CA is not the one of the latest transition", {
    where: "rootCa",
    got: rootCa.keyDigest,
    want: rootKey,
  });
}

/** @param where its name, for the error @throws HistoryError broken_history */
export function readTransition(record: Uint8Array, where: string): Transition {
  try {
    return parseTransition(record);
  } catch (cause) {
    if (!(cause instanceof MalformedBytes)) throw cause;
    const { field, got, want } = cause;
    throw new HistoryError("broken_history", "a transition of the history is malformed", {
      where: `${where}, ${field}`,
      got,
      want,
      hint: "use a verifier of the Coordinator's version",
      cause,
    });
  }
}

function bytesOf(digest: string): Uint8Array {
  return fromHex(digest) ?? new Uint8Array();
}
