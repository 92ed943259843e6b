import { join } from "node:path";
import { UserAPI } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { readInitdata } from "../../manifest/initdata.ts";
import { callDeadline } from "../coordinator.ts";
import type { Context } from "../context.ts";
import { INSECURE } from "../../report/insecure.ts";
import { type Fields, render } from "../../report/print.ts";
import { manifestInForce } from "../workspace/active-history.ts";
import { annexChanges, annexSummary } from "../../report/annex-changes.ts";
import { annexOf } from "../../manifest/generations.ts";
import { readManifest } from "../workspace/manifest-at-hand.ts";
import { inSession, refuseOptions, requireOwnKey, type Session } from "../workspace/owner-session.ts";
import { pendingFacts, pendingOf, type ProvenAnnex, type ProvenChange } from "../workspace/pending-change.ts";
import { FILES, writeOutputs } from "../workspace/workspace.ts";
import { changesIn, summaryOf } from "./changes.ts";
import { fetchPending } from "./fetch-pending.ts";
import type { PendingOptions } from "./options.ts";

/**
 * `contrast pending list`: what waits for owners' signatures, who has signed it, and what it would change. Manifests and
 * policies are saved to be read: `pending sign` signs a file that the owner has, never what a Coordinator shows.
 */
export async function listPending(context: Context, file: string | undefined, options: PendingOptions): Promise<void> {
  refuseOptions({ "[file]": file, "--signature": options.signature }, "pending list");
  const atHand = await readManifest(context, options.manifest);
  const { keys } = await requireOwnKey(context, options.workloadOwnerKey);
  await inSession(context, options.coordinator, atHand, keys, async (session) => {
    const { coordinator, active, insecure } = session;
    const { pending } = await coordinator.call(UserAPI.method.listPending, {}, callDeadline(context));
    const entries: Fields[] = [];
    for (const change of pending) entries.push(await entryOf(context, session, pendingOf(change, active)));
    const result: Fields = {
      result: entries.length === 0 ? "nothing is pending" : `${entries.length} pending`,
      coordinator: options.coordinator,
      manifest: sha256Hex(manifestInForce(active)),
      "latest transition": active.latest,
      pending: entries,
      ...(insecure ? { insecure: INSECURE } : {}),
    };
    context.out(render(result, context.format));
  });
}

async function entryOf(context: Context, session: Session, change: ProvenChange): Promise<Fields> {
  if (change.annex !== undefined) return amendmentEntry(context, session, change, change.annex);
  const { manifest, policies } = await fetchPending(context, session, change.manifest);
  const { changes, warnings } = changesIn(session.active, manifest, [...policies.values()]);
  const directory = join(context.workspace, FILES.pending, change.manifest);
  const files = Object.fromEntries(
    [...policies].flatMap(([hash, policy]): [string, string | Uint8Array][] => [
      [`policy.${hash}.rego`, readInitdata(policy).rego],
      [`initdata.${hash}.toml`, policy],
    ]),
  );
  await writeOutputs(directory, { ...files, [FILES.manifest]: manifest });
  return {
    ...pendingFacts(change),
    file: join(directory, FILES.manifest),
    ...(context.format === "json"
      ? { changes: (changes ?? []).map((one) => ({ ...one })), compared: changes !== null }
      : { changes: summaryOf(changes) }),
    warnings: [...warnings],
  };
}

/** It came along whole, and was compared with the annex in force. */
async function amendmentEntry(
  context: Context,
  { active }: Session,
  change: ProvenChange,
  { bytes, digest, annex }: ProvenAnnex,
): Promise<Fields> {
  const directory = join(context.workspace, FILES.pending, digest);
  await writeOutputs(directory, { [FILES.annex]: bytes });
  const before = annexOf(active.steps.at(-1));
  return {
    ...pendingFacts(change),
    file: join(directory, FILES.annex),
    summary: annexSummary(before, annex),
    ...(context.format === "json"
      ? { changes: annexChanges(before, annex).map((one) => ({ ...one })), compared: true, warnings: [] }
      : {}),
  };
}
