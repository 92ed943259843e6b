import { join } from "node:path";
import { type AmendResponse, UserAPI } from "../../api/userapi_pb.ts";
import { encodePermit } from "../../api/permit.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { RemoteError } from "../../channel/error.ts";
import type { Annex } from "../../manifest/annex.ts";
import type { Change } from "../../manifest/change.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { requireHistory } from "../../manifest/history.ts";
import { type KeyPair, spki } from "../../pki/keys.ts";
import { EXIT } from "../../runtime/exit.ts";
import { callDeadline } from "../coordinator.ts";
import { CliError, type Context, printResult, type Result } from "../context.ts";
import { type ActiveHistory, manifestInForce } from "./active-history.ts";
import { annexSummary } from "../../report/annex-changes.ts";
import { readTransition } from "../../manifest/attested-history.ts";
import { annexOf } from "../../manifest/generations.ts";
import { signedMeshKey } from "./leave.ts";
import { type ManifestAtHand, readManifest } from "./manifest-at-hand.ts";
import { requireNextAnnex } from "./next-annex.ts";
import { inSession, requireOwnKey, type Session } from "./owner-session.ts";
import { pendingFacts, pendingOf, requireSameChange } from "./pending-change.ts";
import { encodePin } from "./pin.ts";
import { type Workload, workloadsIn } from "../../report/workloads.ts";
import { signChange } from "./sign-change.ts";
import { FILES, ownerKey, writeOutputs } from "./workspace.ts";

/** Of a command that amends. */
export interface AmendOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly workloadOwnerKey?: string;
  /** Only make the annex, for owners whose keys are elsewhere to sign. */
  readonly prepare?: boolean;
}

/** What the next annex is made of: the verified history, and the manifest in force, which is the one at hand. */
export interface Amending extends Session {
  readonly before: Annex;
  readonly workloads: readonly Workload[];
}

/** What a command makes of it, with what it says beside the changes. */
export interface Amended {
  readonly annex: Annex;
  readonly result: string;
  readonly facts?: Result;
}

/**
 * Puts another annex in force, which `compose` makes of the one that is: what the owner signs is what the own program made
 * of a history that it checked. One that takes more owners' signatures is left pending.
 *
 * @returns the exit code
 */
export async function amend(
  context: Context,
  options: AmendOptions,
  compose: (amending: Amending) => Promise<Amended>,
): Promise<number> {
  const atHand = await readManifest(context, options.manifest);
  const own = await ownKeys(context, options);
  return inSession(context, options.coordinator, atHand, own?.keys, async (session) => {
    requireAtHand(atHand, session.active);
    const before = annexOf(session.active.steps.at(-1));
    const workloads = workloadsIn(atHand.manifest, session.active.policies);
    const { annex, result, facts } = await compose({ ...session, before, workloads });
    const bytes = requireNextAnnex(before, annex);
    const changes = annexSummary(before, annex);
    if (own === undefined || options.prepare === true) {
      await writeOutputs(context.workspace, { [FILES.annex]: bytes });
      const file = join(context.workspace, FILES.annex);
      const next = `owners sign it with \`contrast sign --annex ${file}\`; then \`contrast pending sign ${file} --signature …\``;
      const facts = { annex: sha256Hex(bytes), written: [file], next };
      printResult(context, session.insecure, { result: "ready to be signed", ...target(options), changes, ...facts });
      return EXIT.done;
    }
    const signature = signAmendment(session.active, bytes, own.keys, own.where);
    const sent = await sendAmendment(context, session, bytes, [signature]);
    const told = { ...target(options), changes };
    if (sent.pending !== undefined) {
      const next = "other owners run `contrast pending list`, read it, and run `contrast pending sign`";
      const waits = "not in force: the change waits for more owners' signatures";
      printResult(context, session.insecure, { result: waits, ...told, ...pendingFacts(sent.pending), next });
      return EXIT.pending;
    }
    const { transition, written } = sent;
    printResult(context, session.insecure, { result, ...told, ...facts, transition, written });
    return EXIT.done;
  });
}

/** Whoever only prepares need be no owner, but for what is for owners' connections alone. */
async function ownKeys(context: Context, { workloadOwnerKey, prepare }: AmendOptions) {
  if (prepare !== true) return requireOwnKey(context, workloadOwnerKey);
  const keys = await ownerKey(context, workloadOwnerKey, FILES.workloadOwnerKey);
  return keys && { keys, where: "" };
}

function target({ coordinator }: AmendOptions): Result {
  return { coordinator };
}

/** What a name means, and who may read, is decided by the manifest that the owner has read. @throws CliError manifest_mismatch */
function requireAtHand({ path, bytes }: ManifestAtHand, active: ActiveHistory): void {
  const inForce = manifestInForce(active);
  if (bytes.equals(inForce)) return;
  throw new CliError("manifest_mismatch", "the Coordinator enforces another manifest than the one at hand", {
    where: path,
    got: `SHA-256 ${sha256Hex(inForce)}`,
    want: `SHA-256 ${sha256Hex(bytes)}`,
    hint: "it decides who reads a secret: read the one that is in force, and use that",
  });
}

/** @param annex its bytes @throws CliError malformed_file where the key is of another kind */
export function signAmendment(active: ActiveHistory, annex: Uint8Array, keys: KeyPair, where: string): ChangeSignature {
  return { publicKey: spki(keys.publicKey), signature: signChange(keys, where, amendmentAfter(active, annex)) };
}

function amendmentAfter(active: ActiveHistory, annex: Uint8Array, meshKey = active.meshKey): Change {
  return {
    manifest: manifestInForce(active),
    previous: Buffer.from(active.latest, "hex"),
    meshKey: Buffer.from(meshKey, "hex"),
    annex: Buffer.from(sha256Hex(annex), "hex"),
  };
}

/**
 * Has an amendment performed, or left pending. What the Coordinator says that it did has to continue the history; only then
 * does the workspace's pin move.
 *
 * @param annex its bytes
 * @throws RemoteError; HistoryError
 */
export async function sendAmendment(
  context: Context,
  { coordinator, active, pin }: Session,
  annex: Uint8Array,
  signatures: readonly ChangeSignature[],
) {
  // A signature that was made elsewhere may be for the mesh CA of the last `verify`: the Coordinator says so then.
  const keys = [active.meshKey, pin?.meshKey];
  const meshKey = signedMeshKey(signatures, keys, (key) => amendmentAfter(active, annex, key)) ?? active.meshKey;
  const request = {
    annex,
    latestTransition: Buffer.from(active.latest, "hex"),
    signedMeshKey: Buffer.from(meshKey, "hex"),
    signatures: [...signatures],
    leavePending: true,
  };
  // An owner's own connection may send so much anyway.
  const permit = encodePermit({
    annexDigest: Buffer.from(sha256Hex(annex), "hex"),
    signedMeshKey: request.signedMeshKey,
    signatures: request.signatures,
  });
  const response = await coordinator
    .call(UserAPI.method.amend, request, callDeadline(context), permit)
    .catch(explainConflict);
  if (response.pending !== undefined) {
    const pending = pendingOf(response.pending, active);
    requireSameChange(pending, sha256Hex(annex));
    return { pending };
  }
  return { pending: undefined, ...(await writePin(context, response, annex, active)) };
}

/** @throws HistoryError where the step is not the one that was asked for */
async function writePin(
  context: Context,
  { transitionRecord, latestTransition }: AmendResponse,
  annex: Uint8Array,
  active: ActiveHistory,
): Promise<{ readonly transition: string; readonly written: readonly string[] }> {
  const transition = readTransition(transitionRecord, latestTransition, "the amendment");
  requireHistory([...active.steps, { transition, manifest: manifestInForce(active), annex }]);
  const { rootKey, meshKey } = active;
  await writeOutputs(context.workspace, {
    [FILES.pin]: encodePin({ transition: transition.digest, rootKey, meshKey }),
  });
  return { transition: transition.digest, written: [join(context.workspace, FILES.pin)] };
}

function explainConflict(error: unknown): never {
  if (!(error instanceof RemoteError) || error.code !== "conflict") throw error;
  const { message, where, got, want, transient } = error;
  const hint = "nothing was changed: run it again, and it goes on from what is in force then";
  throw new RemoteError("conflict", message, transient, { where, got, want, hint, cause: error });
}
