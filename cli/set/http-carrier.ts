import { create } from "@bufbuild/protobuf";
import { join } from "node:path";
import { SetAnswer, type SetRequest } from "../../api/http/set.ts";
import { encodePermit, PERMIT_HEADER } from "../../api/http/permit.ts";
import { Refusal } from "../../api/refusal.ts";
import { PendingChangeSchema } from "../../api/userapi_pb.ts";
import { fromBase64, isEqual, toBase64, toHex } from "../../bytes/encode.ts";
import { fromHex } from "../../bytes/hex.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { RemoteError } from "../../channel/error.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { HistoryError, type Step } from "../../manifest/history.ts";
import { VerifyError } from "../../verifier/error.ts";
import { clientOf } from "../../verifier/live.ts";
import { channelRequired } from "../address.ts";
import { CliError, type Context } from "../context.ts";
import { requireCoordinator, requireInsecureFlag } from "../coordinator.ts";
import type { ActiveHistory } from "../workspace/active-history.ts";
import { deploymentAt, deploymentInForce, type HttpDeployment, liveOptions } from "../workspace/http-deployment.ts";
import type { ManifestAtHand } from "../workspace/manifest-at-hand.ts";
import { pendingOf } from "../workspace/pending-change.ts";
import { encodePin } from "../workspace/pin.ts";
import { FILES, writeOutputs } from "../workspace/workspace.ts";
import type { Carrier, ChangeToSet, Outcome } from "./carrier.ts";

/**
 * Over HTTP, where nobody is authenticated: whoever is in between can keep the change back, bring it later, and answer what he
 * likes. So an answer decides nothing. What became of the change, the Coordinator's evidence says, which is made anew for a
 * nonce of ours; and it is told by the manifest at hand.
 */
export function httpCarrier(context: Context, url: string, atHand: ManifestAtHand): Carrier {
  let isInsecure = false;
  return {
    active: async () => {
      requireInsecureFlag(context, atHand.manifest);
      const active = await deploymentInForce(context, url, atHand).catch((error: unknown) => {
        if (!(error instanceof VerifyError) || error.answered !== "no_manifest") throw error;
        throw channelRequired(url, "the first `set`");
      });
      // As over the attested channel: it has to be one that the new manifest lists.
      requireCoordinator(active.coordinator, atHand.manifest);
      isInsecure = active.coordinator.claims.insecure;
      return active;
    },
    isInsecure: () => isInsecure,
    close: () => undefined,
    set: async (change, before) => {
      if (before === undefined) throw channelRequired(url, "the first `set`");
      requireFollows(change, before);
      return outcomeOf({ context, url, atHand, before, change }, await ask(context, url, change, before));
    },
  };
}

/** What was answered, by whomever. */
type Answered = SetAnswer | RemoteError | VerifyError;

async function ask(context: Context, url: string, change: ChangeToSet, before: ActiveHistory): Promise<Answered> {
  const { signature, signatures = [], signedMeshKey } = change.leave;
  const all = [...(signature === undefined ? [] : [signature]), ...signatures].map(signatureOf);
  const [first] = all;
  if (first === undefined) throw channelRequired(url, "`set` without --signature");
  const known = new Set(before.policies.map(sha256Hex));
  const request: SetRequest = {
    manifest: toBase64(change.manifest),
    policies: change.policies.filter((policy) => !known.has(sha256Hex(policy))).map(toBase64),
    latestTransition: before.latest,
    ...(signedMeshKey === undefined ? {} : { signedMeshKey: toHex(signedMeshKey) }),
    signatures: all.map((one) => ({ publicKey: toBase64(one.publicKey), signature: toBase64(one.signature) })),
  };
  const manifestDigest = fromHex(sha256Hex(change.manifest)) ?? new Uint8Array();
  const permit = { [PERMIT_HEADER]: encodePermit({ manifestDigest, ...first }) };
  const waiting = context.progress(`waiting for the Coordinator at ${url}`);
  try {
    const client = clientOf(liveOptions(context, url, { manifest: change.manifest }));
    const { data } = SetAnswer.safeParse(await client.post("/v1/set", request, permit));
    if (data !== undefined) return data;
    throw new VerifyError("unexpected_answer", "the answer is not what this API answers", { where: "POST /v1/set" });
  } catch (error) {
    if (!(error instanceof VerifyError)) throw error;
    const { answered, message, where, got, hint, retryAfterMs } = error;
    if (answered === undefined) return error;
    return new RemoteError(answered, message, retryAfterMs !== undefined, { where, got, hint, cause: error });
  } finally {
    waiting.end();
  }
}

interface Asked {
  readonly context: Context;
  readonly url: string;
  readonly atHand: ManifestAtHand;
  readonly before: ActiveHistory;
  readonly change: ChangeToSet;
}

/** @throws CliError set_not_confirmed; Refusal conflict; what was answered, where nothing was set */
async function outcomeOf(asked: Asked, answered: Answered): Promise<Outcome> {
  const isSaidToBeSet = !(answered instanceof Error) && answered.outcome === "set";
  const found = await lookAfter(asked, isSaidToBeSet).catch((error: unknown) => {
    // Without evidence, a refusal is all that is known.
    throw answered instanceof Error ? answered : error;
  });
  if (found !== undefined) {
    if (answered instanceof Error) {
      asked.context.warn(`warning: the manifest is set, although the answer was ${answered.describe()}`);
    }
    return written(asked, found);
  }
  if (answered instanceof Error) throw answered;
  if (answered.outcome === "pending") return pendingOutcome(asked, answered);
  throw new CliError(
    "set_not_confirmed",
    "the answer says that the manifest is set, and the Coordinator's evidence does not",
    {
      where: asked.url,
      got: `transition ${asked.before.latest}, as before`,
      want: `a transition to the manifest ${sha256Hex(asked.change.manifest)}`,
      hint: "something before the Coordinator answers in its place: it may bring the change later, as long as the signatures are good",
    },
  );
}

/** Other Coordinators of the deployment need a moment to see what one of them has put in force. Milliseconds. */
const CONFIRM_MS = 6000;
const AGAIN_MS = 500;

/**
 * @param wait for the change, where it is said to be in force
 * @returns undefined where what was in force before still is
 * @throws Refusal conflict, where something else is; HistoryError where the history is not the one of before
 */
async function lookAfter(asked: Asked, wait: boolean): Promise<HttpDeployment | undefined> {
  const { context, url, atHand } = asked;
  const until = context.now().getTime() + CONFIRM_MS;
  for (;;) {
    const isLast = context.now().getTime() >= until;
    try {
      const deployment = await deploymentAt(context, url, atHand);
      if (isIn(asked, deployment)) return deployment;
      if (!wait || isLast) return undefined;
    } catch (error) {
      if (!(error instanceof VerifyError) || error.code !== "not_ready" || isLast) throw error;
    }
    await context.network.sleep(AGAIN_MS);
  }
}

/** Whether the change is the step after what was in force, and its manifest is in force now. */
function isIn({ before, change }: Asked, { steps, latest }: HttpDeployment): boolean {
  const at = steps.findIndex(({ transition }) => transition.digest === before.latest);
  if (at < 0) {
    throw new HistoryError("broken_history", "the Coordinator's history is not the one of a moment ago", {
      got: `the transition ${latest}`,
      want: `one after ${before.latest}`,
    });
  }
  const [next] = steps.slice(at + 1);
  if (next === undefined) return false;
  if (isSigned(next, change) && isEqual(steps.at(-1)?.manifest ?? new Uint8Array(), change.manifest)) return true;
  throw new Refusal("conflict", "something else came into force", {
    got: `the transition ${latest}`,
    want: `the manifest ${sha256Hex(change.manifest)} after ${before.latest}`,
    hint: "run `contrast verify`, look at what changed, then sign and set again",
  });
}

/** Those who signed it first: others may have signed the same. */
function isSigned({ transition, manifest }: Step, { leave: { signature }, ...change }: ChangeToSet): boolean {
  const key = signature?.publicKey ?? new Uint8Array();
  return isEqual(manifest, change.manifest) && transition.signatures.some(({ publicKey }) => isEqual(publicKey, key));
}

async function written({ context, before }: Asked, deployment: HttpDeployment): Promise<Outcome> {
  const { latest: transition, rootKey, meshKey, rootCa, meshCa, steps } = deployment;
  const files = {
    [FILES.rootCa]: rootCa,
    [FILES.meshCa]: meshCa,
    [FILES.pin]: encodePin({ transition, rootKey, meshKey }),
  };
  await writeOutputs(context.workspace, files);
  const shares = (all: readonly Step[]): string | undefined => all.at(-1)?.transition.seedShares;
  if (shares(steps) !== shares(before.steps)) {
    context.warn(
      "warning: the Coordinator has made new seed shares, which are not served over HTTP: run `contrast verify` over the " +
        `attested channel (host:1313), which writes ${FILES.seedShares}`,
    );
  }
  return { transition, written: Object.keys(files).map((name) => join(context.workspace, name)), notes: {} };
}

function pendingOutcome({ before }: Asked, answer: SetAnswer & { readonly outcome: "pending" }): Outcome {
  const bytes = (base64: string): Uint8Array => fromBase64(base64) ?? new Uint8Array();
  const message = create(PendingChangeSchema, {
    manifestDigest: fromHex(answer.manifest) ?? new Uint8Array(),
    signatures: answer.signatures.map((one) => ({ publicKey: bytes(one.publicKey), signature: bytes(one.signature) })),
    revoke: answer.revoke,
  });
  const unproven = "that the Coordinator keeps it: `contrast pending list` over the attested channel shows it";
  return { pending: pendingOf(message, before), notes: { unproven } };
}

/** @throws Refusal conflict */
function requireFollows({ latestTransition }: ChangeToSet, { latest }: ActiveHistory): void {
  if (latestTransition === undefined || toHex(latestTransition) === latest) return;
  throw new Refusal("conflict", "the latest transition is another one", {
    got: latest,
    want: toHex(latestTransition),
    hint: "run `contrast verify`, look at what changed, then set again",
  });
}

function signatureOf({ publicKey, signature }: Partial<ChangeSignature>): ChangeSignature {
  return { publicKey: publicKey ?? new Uint8Array(), signature: signature ?? new Uint8Array() };
}
