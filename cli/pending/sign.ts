import { join } from "node:path";
import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { EXIT } from "../../runtime/exit.ts";
import { callDeadline } from "../coordinator.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { deploymentOf } from "../workspace/active-history.ts";
import { detachedSignature } from "../workspace/detached-signature.ts";
import { carriedLeave, type Leave, ownLeave } from "../workspace/leave.ts";
import { writeNewManifest } from "../workspace/new-manifest.ts";
import { overlapOf } from "../workspace/overlap.ts";
import { inSession, requireOwnKey, type Session } from "../workspace/owner-session.ts";
import { pendingFacts, pendingOf, requireSameChange } from "../workspace/pending-change.ts";
import { warningsOf } from "../workspace/warnings.ts";
import { FILES } from "../workspace/workspace.ts";
import { changesIn, summaryOf } from "./changes.ts";
import { fetchPending } from "./fetch-pending.ts";
import { readMeant } from "./meant.ts";
import type { PendingOptions } from "./options.ts";
import { signPendingAmendment } from "./sign-amendment.ts";

/**
 * `contrast pending sign`: adds this owner's signature to a pending change, which is performed if it was the last one that
 * was missing. What is signed is the owner's own file, at the place in the history that the attested Coordinator is at.
 *
 * @returns the exit code
 */
export async function signPending(
  context: Context,
  file: string | undefined,
  options: PendingOptions,
): Promise<number> {
  const { atHand, manifest: meant, annex } = await readMeant(context, file, options.manifest);
  if (annex !== undefined) return signPendingAmendment(context, options, atHand, annex);
  const leaveOf = await prepareLeave(context, options, meant.bytes);
  return inSession(context, options.coordinator, atHand, leaveOf.keys, async (session) => {
    const { coordinator, active, insecure } = session;
    const digest = sha256Hex(meant.bytes);
    if (digest === deploymentOf(active, session.pin).digest) {
      throw new CliError("usage", "this manifest is in force already", {
        where: meant.path,
        got: `SHA-256 ${digest}`,
        hint: "`contrast pending list` saves what is pending: read it, then sign the file",
      });
    }
    const warnings = await warningsOf(context, deploymentOf(active, session.pin), meant.manifest);
    for (const warning of warnings) context.warn(`warning: ${warning}`);
    // Only an owner's connection is shown them; without the policies, pods are named as the manifest does.
    const policies = leaveOf.keys === undefined ? [] : [...(await fetchPending(context, session, digest)).policies];
    const { changes } = changesIn(
      active,
      meant.bytes,
      policies.map(([, policy]) => policy),
    );
    const { signature, signedMeshKey } = leaveOf.make(session);
    const response = await coordinator.call(
      UserAPI.method.signPending,
      {
        manifestDigest: Buffer.from(digest, "hex"),
        latestTransition: Buffer.from(active.latest, "hex"),
        ...(signature === undefined ? {} : { signature }),
        ...(signedMeshKey === undefined ? {} : { signedMeshKey }),
        revoke: options.revoke === true,
      },
      callDeadline(context),
    );
    const common = { coordinator: options.coordinator, signed: meant.path, changes: summaryOf(changes) };
    const told = context.format === "json" ? { warnings } : {};
    if (response.pending !== undefined) {
      const pending = pendingOf(response.pending, active);
      requireSameChange(pending, digest);
      const next = "other owners run `contrast pending sign`";
      const result = "signed; the change waits for more owners' signatures";
      printResult(context, insecure, { result, ...common, ...pendingFacts(pending), next, ...told });
      return EXIT.pending;
    }
    const written = await writeNewManifest(context, coordinator, response, meant.bytes, active);
    printResult(context, insecure, {
      result: "manifest set",
      ...common,
      transition: Buffer.from(response.latestTransition).toString("hex"),
      written,
      ...overlapOf(response),
      next: "apply what changed, restart the other workloads: the mesh has a new CA",
      ...told,
    });
    return EXIT.done;
  });
}

/** Everything that can be wrong with keys and signatures is found before anybody is asked. */
async function prepareLeave(context: Context, options: PendingOptions, manifest: Uint8Array) {
  if (options.signature === undefined) {
    const { keys, where } = await requireOwnKey(context, options.workloadOwnerKey);
    return {
      keys,
      make: ({ active }: Session): Leave => ownLeave({ active, newRootKey: undefined }, manifest, keys, where),
    };
  }
  const path = options.workloadOwnerKey ?? join(context.workspace, FILES.workloadOwnerKey);
  const signature = await detachedSignature(options.signature, path);
  const where = options.signature;
  // Who carries a signature need not be an owner: the connection is then made with a throw-away key.
  const make = ({ active, pin }: Session): Leave =>
    carriedLeave({ active, newRootKey: undefined }, manifest, [signature], { pin, where });
  return { keys: undefined, make };
}
