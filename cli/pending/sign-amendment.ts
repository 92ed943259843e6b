import { join } from "node:path";
import { EXIT } from "../../runtime/exit.ts";
import { type Context, printResult } from "../context.ts";
import { sendAmendment, signAmendment } from "../workspace/amend.ts";
import type { AnnexFile } from "../workspace/annex-file.ts";
import { annexSummary } from "../../report/annex-changes.ts";
import { detachedSignature } from "../workspace/detached-signature.ts";
import { annexOf } from "../../manifest/generations.ts";
import type { ManifestAtHand } from "../workspace/manifest-at-hand.ts";
import { requireNextAnnex } from "../workspace/next-annex.ts";
import { inSession, refuseOptions, requireOwnKey, type Session } from "../workspace/owner-session.ts";
import { pendingFacts } from "../workspace/pending-change.ts";
import { FILES } from "../workspace/workspace.ts";
import type { PendingOptions } from "./options.ts";

/**
 * `contrast pending sign` of an amendment: allows the annex in this file. The other owners' signatures over it are at the
 * Coordinator; where there are none, this is the first, as if this owner had proposed it.
 *
 * @returns the exit code
 */
export async function signPendingAmendment(
  context: Context,
  options: PendingOptions,
  atHand: ManifestAtHand,
  { path, bytes, annex }: AnnexFile,
): Promise<number> {
  refuseOptions({ "--revoke": options.revoke }, "pending sign <annex>");
  const { keys, make } = await signatureOf(context, options);
  return inSession(context, options.coordinator, atHand, keys, async (session) => {
    const before = annexOf(session.active.steps.at(-1));
    requireNextAnnex(before, annex);
    const sent = await sendAmendment(context, session, bytes, [make(session, bytes)]);
    const common = { coordinator: options.coordinator, signed: path, changes: annexSummary(before, annex) };
    if (sent.pending !== undefined) {
      const result = "signed; the change waits for more owners' signatures";
      const next = "other owners run `contrast pending sign`";
      printResult(context, session.insecure, { result, ...common, ...pendingFacts(sent.pending), next });
      return EXIT.pending;
    }
    const { transition, written } = sent;
    printResult(context, session.insecure, { result: "in force", ...common, transition, written });
    return EXIT.done;
  });
}

/** Everything that can be wrong with keys and signatures is found before anybody is asked. */
async function signatureOf(context: Context, { signature: file, workloadOwnerKey }: PendingOptions) {
  if (file === undefined) {
    const { keys, where } = await requireOwnKey(context, workloadOwnerKey);
    const make = ({ active }: Session, annex: Uint8Array) => signAmendment(active, annex, keys, where);
    return { keys, make };
  }
  const signature = await detachedSignature(file, workloadOwnerKey ?? join(context.workspace, FILES.workloadOwnerKey));
  // Who carries a signature need not be an owner: the connection is then made with a throw-away key.
  return { keys: undefined, make: () => signature };
}
