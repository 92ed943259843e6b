import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { completeEvidence } from "../attestation/complete.ts";
import { ChannelClient, type ChannelClientOptions } from "../channel/client.ts";
import { ChannelError } from "../channel/error.ts";
import type { Appraiser } from "../channel/exchange.ts";
import { admit, type VerifiedClaimant, verifyClaimant } from "../manifest/appraise.ts";
import { type Manifest } from "../manifest/manifest.ts";
import { generateEcKey, type KeyPair } from "../pki/keys.ts";
import { requireChannel } from "./address.ts";
import { CliError, type Context } from "./context.ts";
import type { Progress } from "./progress.ts";

const HANDSHAKE_MS = 20_000;
export const CALL_MS = 60_000;

/** A Coordinator that has proven to be one, by its evidence. A terminal is told that it is waited for. */
export class Coordinator extends ChannelClient<VerifiedClaimant> {
  readonly #wait: () => Progress;

  constructor(options: ChannelClientOptions<VerifiedClaimant>, wait: () => Progress) {
    super(options);
    this.#wait = wait;
  }

  override async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    deadline: Date,
    permit?: Buffer,
  ): Promise<MessageShape<O>> {
    const waiting = this.#wait();
    try {
      return await super.call(method, request, deadline, permit);
    } finally {
      waiting.end();
    }
  }
}

/**
 * Connects to a Coordinator, which must prove to run a policy with the role `coordinator` of this manifest on a
 * platform that matches it.
 *
 * @param keys who the caller proves to be; a throw-away key where it does not matter
 * @throws CliError channel_required, insecure_not_allowed
 */
export async function connect(
  context: Context,
  target: string,
  manifest: Manifest,
  keys?: KeyPair,
): Promise<Coordinator> {
  requireChannel(target, "this command");
  requireInsecureFlag(context, manifest);
  const options = {
    target,
    keys: keys ?? (await generateEcKey("P-256")),
    appraiseServer: appraiseCoordinator(context, manifest),
    handshakeMs: HANDSHAKE_MS,
  };
  return new Coordinator(options, () => context.progress(`waiting for the Coordinator at ${target}`));
}

/**
 * Connects to whoever is there, who proves nothing: what is answered may be shown to a person and must decide nothing.
 *
 * @param keys who the caller proves to be
 */
export function connectUnproven(target: string, keys: KeyPair): ChannelClient<VerifiedClaimant> {
  requireChannel(target, "this command");
  return new ChannelClient<VerifiedClaimant>({ target, keys, handshakeMs: HANDSHAKE_MS, answerBytes: UNPROVEN_BYTES });
}

/** So much of an answer is taken from who has proven nothing. */
const UNPROVEN_BYTES = 1024 * 1024;

export function callDeadline(context: Context): Date {
  return new Date(context.now().getTime() + CALL_MS);
}

function appraiseCoordinator(context: Context, manifest: Manifest): Appraiser<VerifiedClaimant> {
  return async ({ evidence, reportData }) => {
    if (evidence === undefined) throw new ChannelError("evidence_missing", "the server showed no evidence");
    const { insecure: allowInsecure, clock, vendors } = context;
    // A Coordinator brings the certificate of its chip along, unless it could not get it.
    const whole = await completeEvidence(evidence, vendors);
    const options = { allowInsecure, clock, vendors };
    const verified = await verifyClaimant({ evidence: whole, reportData }, manifest, options);
    requireCoordinator(verified, manifest);
    return verified;
  };
}

/** @throws EvidenceError; Refusal reference_values_mismatch, policy_not_allowed; CliError not_a_coordinator */
export function requireCoordinator(verified: VerifiedClaimant, manifest: Manifest): void {
  const { role } = admit(verified, manifest);
  if (role === "coordinator") return;
  throw new CliError("not_a_coordinator", "the server is a workload of the manifest and not its Coordinator", {
    where: `$.Policies["${verified.policyHash}"].Role`,
    got: JSON.stringify(role ?? ""),
    want: '"coordinator"',
  });
}

/** @throws CliError insecure_not_allowed */
export function requireInsecureFlag(context: Context, manifest: Manifest): void {
  if (manifest.referenceValues.insecure.length === 0 || context.insecure) return;
  throw new CliError("insecure_not_allowed", "the manifest trusts a software TEE, which proves nothing", {
    where: "$.ReferenceValues.insecure",
    hint: "use --insecure if this is a test or a demonstration",
  });
}
