import { fromUtf8 } from "../bytes/encode.ts";
import { settle } from "../crypto/node.ts";
import { CodedError } from "../runtime/errors.ts";
import type { Verification } from "./deployment.ts";
import { VerifyError } from "./error.ts";
import { deploymentFacts, frozen } from "./facts.ts";
import { requireNoFormerHolders } from "./former-holders.ts";
import { type LiveOptions, requirePolicy, verifyLive } from "./live.ts";
import { makeStatement, verifyStatement as verifySaved } from "./statement.ts";
import {
  type VerifiedCertificate,
  type VerifiedDeployment,
  type VerifiedStatement,
  type VerifyDeploymentOptions,
  VerifyRefusal,
  type VerifyStatementOptions,
} from "./types.ts";
import { checkWorkloadCertificate } from "./workload-certificate.ts";

/**
 * The entry of the package for everybody who wants to know what runs somewhere (docs/verifier.md). Programs of this project
 * take the files behind it. `npm run build` bundles it for all runtimes, on WebCrypto.
 */

export type {
  CaCertificate,
  DeploymentFacts,
  HistoryStep,
  SignedTimestamp,
  VerifiedCertificate,
  VerifiedClaim,
  VerifiedDeployment,
  VerifiedStatement,
  VerifyDeploymentOptions,
  VerifyStatementOptions,
} from "./types.ts";
export { VerifyRefusal } from "./types.ts";

/** How it was verified, to do so again. */
interface Known {
  readonly options: LiveOptions;
  readonly verification: Verification;
}

const known = new WeakMap<VerifiedDeployment, Known>();

const TIMEOUT_MS = 30_000;

/**
 * Verifies that a deployment is the one of this manifest: asks its Coordinator for evidence that is made for a new nonce, and
 * checks that it runs in a TEE as the manifest says, enforces this very manifest, and has the CA keys that it shows; then that
 * workload owners allowed every change since the first manifest.
 *
 * It says nothing about who is at the other end of the HTTP connection. Trust `meshCa` alone for what follows.
 *
 * @throws VerifyRefusal
 */
export async function verifyDeployment(options: VerifyDeploymentOptions): Promise<VerifiedDeployment> {
  const { url, manifest, policy, allowInsecure = false, policies = false, timeoutMs = TIMEOUT_MS, signal } = options;
  const {
    fetch = (address, init) => globalThis.fetch(address, init),
    now = () => new Date(),
    random = (length) => crypto.getRandomValues(new Uint8Array(length)),
  } = options;
  const trusted = { policy, allowInsecure, policies, known: { manifest: bytesOf(manifest) } };
  const accepted = options.formerSeedshareOwners ?? [];
  return refusing(() => live({ ...trusted, url, fetch, now, random, timeoutMs, signal }, accepted));
}

/**
 * Verifies a deployment again: it may enforce another manifest by now, if workload owners of the one before signed it.
 *
 * @param before what `verifyDeployment` or this function returned
 * @returns what it is now
 * @throws VerifyRefusal `not_continued` where its history does not contain what was known
 */
export async function followDeployment(
  before: VerifiedDeployment,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<VerifiedDeployment> {
  return refusing(() => live({ ...knownOf(before).options, known: { transition: before.transition }, signal }));
}

/**
 * Keeps what was verified: a statement of in-toto that `verifyStatement` verifies without the deployment. The deployment attests
 * itself once more for it, with a nonce that is made of what the vendor signed before, so that the statement can say after
 * which time all of it was true.
 *
 * @param verified what `verifyDeployment` or `followDeployment` returned, just now
 * @returns JSON in UTF-8, to be kept as it is
 * @throws VerifyRefusal `changed_meanwhile`: verify again
 */
export async function toStatement(verified: VerifiedDeployment): Promise<Uint8Array> {
  return refusing(() => {
    const { options, verification } = knownOf(verified);
    return makeStatement(options, verification);
  });
}

/**
 * Verifies a statement: all of it was true at some time after `after`, which is the newest time that a vendor signed in it.
 * That the vendor has not taken anything back since, it can't say.
 *
 * @throws VerifyRefusal
 */
export async function verifyStatement(
  statement: Uint8Array | string,
  options: VerifyStatementOptions = {},
): Promise<VerifiedStatement> {
  const { manifest, policy, allowInsecure = false, formerSeedshareOwners = [], now = () => new Date() } = options;
  return refusing(async () => {
    requirePolicy(policy);
    const known = manifest === undefined ? undefined : bytesOf(manifest);
    const trusted = { policy, allowInsecure, manifest: known, now: now() };
    const { verification, after, unsigned } = await verifySaved(bytesOf(statement), trusted);
    await settle(() => requireNoFormerHolders(verification.steps, formerSeedshareOwners));
    const facts = await settle(() => deploymentFacts(verification));
    const { what, time } = after;
    return frozen({
      ...facts,
      after: { time: time.toISOString(), what },
      manifestAtHand: manifest !== undefined,
      unsigned,
    });
  });
}

/**
 * Verifies that a workload's certificate is of a deployment that was verified: issued by the mesh CA in force for a policy of the
 * manifest in force, and valid now. Whoever shows it need not have its key: TLS finds that out.
 *
 * @param verified what `verifyDeployment` or `followDeployment` returned
 * @param chain PEM, the workload's certificate first, as in certChain.pem
 * @throws VerifyRefusal `foreign_certificate`, `malformed_certificate`
 */
export async function verifyCertificate(
  verified: VerifiedDeployment,
  chain: Uint8Array | string,
): Promise<VerifiedCertificate> {
  return refusing(async () => {
    const { options, verification } = knownOf(verified);
    const bytes = bytesOf(chain);
    const at = options.now();
    const checked = await settle(() => checkWorkloadCertificate(bytes, verification, at));
    const { keyDigest, notBefore, notAfter, workloadSecretId = null, ...others } = checked;
    const validity = { notBefore: notBefore.toISOString(), notAfter: notAfter.toISOString() };
    return frozen({ ...others, ...validity, keySha256: keyDigest, workloadSecretId });
  });
}

/** @param accepted at the first contact: former seed share owners. What was known was accepted, and owners allowed the rest. */
async function live(options: LiveOptions, accepted?: readonly string[]): Promise<VerifiedDeployment> {
  const verification = await verifyLive(options);
  if (accepted !== undefined) await settle(() => requireNoFormerHolders(verification.steps, accepted));
  const facts = await settle(() => deploymentFacts(verification));
  const { url } = options;
  const verified: VerifiedDeployment = frozen({ ...facts, url, verifiedAt: verification.at.toISOString() });
  known.set(verified, { options, verification });
  return verified;
}

function knownOf(verified: VerifiedDeployment): Known {
  const context = known.get(verified);
  if (context !== undefined) return context;
  throw new VerifyError("invalid_option", "this was not verified here", {
    where: "verified",
    want: "what verifyDeployment returned, as it is",
  });
}

function bytesOf(manifest: Uint8Array | string): Uint8Array {
  return typeof manifest === "string" ? fromUtf8(manifest) : new Uint8Array(manifest);
}

/** What is refused, by one class that says no more than it has to. */
async function refusing<T>(verify: () => Promise<T>): Promise<T> {
  try {
    return await verify();
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    const { code, message, where, got, want, hint } = error;
    const retryAfterMs = error instanceof VerifyError ? error.retryAfterMs : undefined;
    throw new VerifyRefusal(code, message, { where, got, want, hint, retryAfterMs, cause: error });
  }
}
