import { isUnreachable } from "../../attestation/endorsements/error.ts";
import type { Evidence } from "../../attestation/evidence.ts";
import { INTEL_ROOTS } from "../../attestation/tdx/roots.ts";
import { verifySimulated } from "../../attestation/verify.ts";
import { wholeEvidence } from "../../attestation/whole-evidence.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import { readHistory } from "../../verifier/answer.ts";
import { type Trusted, type Verification, verifySource } from "../../verifier/deployment.ts";
import { VerifyError } from "../../verifier/error.ts";
import { attest, clientOf, type LiveOptions } from "../../verifier/live.ts";
import { documentsOf } from "../../verifier/records.ts";
import { CALL_MS, requireInsecureFlag } from "../coordinator.ts";
import type { Context } from "../context.ts";
import type { Deployment } from "./deployment.ts";
import type { ManifestAtHand } from "./manifest-at-hand.ts";

/**
 * A deployment over the HTTP API of its Coordinator, by the library that everybody verifies with (verifier/). What carries it
 * is trusted with nothing: not TLS, nor who is at its other end.
 */
export interface HttpDeployment extends Deployment {
  readonly verification: Verification;
}

/**
 * The Coordinator proves itself against the manifest at hand. Where it enforces another one, which is the caller's to refuse,
 * it has proven no more than to be what that manifest lists: so the caller can tell what became of the deployment that the
 * workspace knows.
 *
 * @throws VerifyError, EvidenceError, EndorsementError, ManifestError, HistoryError, Refusal, CliError
 */
export async function deploymentAt(context: Context, url: string, atHand: ManifestAtHand): Promise<HttpDeployment> {
  requireInsecureFlag(context, atHand.manifest);
  try {
    return await readDeployment(context, url, { manifest: atHand.bytes }, atHand);
  } catch (error) {
    if (!(error instanceof VerifyError) || error.code !== "manifest_mismatch") throw error;
    // What follows is for a better reason to refuse. Where there is none to be found, this one stays.
    return deploymentInForce(context, url, atHand).catch(() => {
      throw error;
    });
  }
}

/**
 * What is in force there, whatever that is, by its own manifest, whose owners may be anybody: the caller compares it with
 * what he knows.
 *
 * @throws as `deploymentAt`
 */
export function deploymentInForce(context: Context, url: string, atHand: ManifestAtHand): Promise<HttpDeployment> {
  return readDeployment(context, url, undefined, atHand);
}

async function readDeployment(
  context: Context,
  url: string,
  wanted: { readonly manifest: Uint8Array } | undefined,
  { manifest }: ManifestAtHand,
): Promise<HttpDeployment> {
  const options = liveOptions(context, url, { manifest: wanted?.manifest ?? new Uint8Array() });
  const waiting = context.progress(`waiting for the Coordinator at ${url}`);
  try {
    const client = clientOf(options);
    const nonce = options.random(32);
    const answer = await attest(client, nonce);
    const whole = { ...answer, evidence: await complete(context, answer.evidence, manifest) };
    const transitions = async () => readHistory(await client.getJson("/v1/history"));
    const source = { answer: whole, transitions, document: documentsOf(client) };
    const known = wanted ?? { transition: answer.history.at(-1)?.transition ?? "" };
    const at = context.clock.now(manifest);
    const trusted: Trusted = { ...options, known, nonce, at, saved: false };
    const verification = await verifySource(source, trusted);
    return deploymentOf(verification);
  } finally {
    waiting.end();
  }
}

/** How the library asks. @param known by what it verifies */
export function liveOptions(context: Context, url: string, known: LiveOptions["known"]): LiveOptions {
  return {
    url,
    known,
    policy: undefined,
    policies: true,
    allowInsecure: context.insecure,
    fetch: (address, init) => context.network.fetch(new URL(address), init),
    now: () => context.clock.now(),
    random: context.random,
    timeoutMs: CALL_MS,
    signal: undefined,
  };
}

/**
 * What the vendor says goes before what the answer says it said, which may be older and still valid: as over the attested
 * channel. Where the vendor can't be asked, the answer's will do.
 *
 * @param manifest whose software TEEs are believed where the user says so; no vendor knows those
 */
async function complete(
  { vendors, clock, insecure }: Context,
  evidence: Evidence,
  { referenceValues }: Manifest,
): Promise<Evidence> {
  const now = (): Date => clock.now();
  const roots = insecure ? referenceValues.insecure.map(({ rootDigest }) => rootDigest) : [];
  if (verifySimulated(evidence, new Set(roots), { at: now() }) !== undefined) return evidence;
  try {
    return await wholeEvidence(evidence, { vendors, now, tdxAnchors: INTEL_ROOTS });
  } catch (error) {
    const isWhole = evidence.kind === "snp" ? evidence.crl !== undefined : evidence.collateral !== undefined;
    if (isWhole && isUnreachable(error)) return evidence;
    throw error;
  }
}

function deploymentOf(verification: Verification): HttpDeployment {
  const { claimant, steps, transition, rootCa, meshCa, policies } = verification;
  return {
    verification,
    coordinator: claimant,
    steps,
    transitions: steps.map((step) => step.transition.digest),
    latest: transition.digest,
    rootKey: rootCa.keyDigest,
    meshKey: meshCa.keyDigest,
    rootCa: rootCa.pem,
    meshCa: meshCa.pem,
    policies: [...policies.values()],
    seedShares: undefined,
  };
}
