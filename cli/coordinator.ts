import type { ChannelClient as Client } from "../channel/client.ts";
import { ChannelClient } from "../channel/client.ts";
import { ChannelError } from "../channel/error.ts";
import type { Appraiser } from "../channel/exchange.ts";
import { selfSigned } from "../channel/tls.ts";
import { admit, verifyClaimant } from "../manifest/appraise.ts";
import { type Manifest } from "../manifest/manifest.ts";
import type { Claims } from "../attestation/claims.ts";
import { generateEcKey, type KeyPair } from "../pki/keys.ts";
import { CliError, type Context } from "./context.ts";

const HANDSHAKE_MS = 20_000;
const CALL_MS = 60_000;

/** A Coordinator that has proven to be one: the claims of its evidence. */
export type Coordinator = Client<Claims>;

/**
 * Connects to a Coordinator, which must prove to run a policy with the role `coordinator` of this manifest on a
 * platform that matches it.
 *
 * @param keys who the caller proves to be; a throw-away key where it does not matter
 */
export async function connect(
  context: Context,
  target: string,
  manifest: Manifest,
  keys?: KeyPair,
): Promise<Coordinator> {
  requireInsecureFlag(context, manifest);
  return new ChannelClient({
    target,
    identity: await selfSigned(keys ?? (await generateEcKey("P-256")), context.now()),
    appraiseServer: appraiseCoordinator(context, manifest),
    handshakeMs: HANDSHAKE_MS,
  });
}

export function callDeadline(context: Context): Date {
  return new Date(context.now().getTime() + CALL_MS);
}

function appraiseCoordinator(context: Context, manifest: Manifest): Appraiser<Claims> {
  return async ({ evidence, reportData }) => {
    if (evidence === undefined) throw new ChannelError("evidence_missing", "the server showed no evidence");
    const options = { allowInsecure: context.insecure, at: context.now(), complete: context.complete };
    const verified = await verifyClaimant({ evidence, reportData }, manifest, options);
    const policy = admit(verified, manifest);
    if (policy.role !== "coordinator") {
      throw new CliError("not_a_coordinator", "the server is a workload of the manifest and not its Coordinator", {
        where: `$.Policies["${verified.policyHash}"].Role`,
        got: JSON.stringify(policy.role ?? ""),
        want: '"coordinator"',
      });
    }
    return verified.claims;
  };
}

/** @throws CliError insecure_not_allowed */
export function requireInsecureFlag(context: Context, manifest: Manifest): void {
  if (manifest.referenceValues.insecure.length === 0 || context.insecure) return;
  throw new CliError("insecure_not_allowed", "the manifest trusts a software TEE, which proves nothing", {
    where: "$.ReferenceValues.insecure",
    hint: "use --insecure if this is a test or a demonstration",
  });
}
