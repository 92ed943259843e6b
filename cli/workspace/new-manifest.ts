import { join } from "node:path";
import type { SetManifestResponse } from "../../api/userapi_pb.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { HistoryError, requireHistory } from "../../manifest/history.ts";
import type { Context } from "../context.ts";
import type { Coordinator } from "../coordinator.ts";
import { activeHistory } from "./active-history.ts";
import { type AttestedHistory, keyOf, readTransition } from "../../manifest/attested-history.ts";
import { encodePin, type Pin } from "./pin.ts";
import { encodeSeedSharesFile } from "./seed-shares-file.ts";
import { FILES, readIfPresent, writeOutputs } from "./workspace.ts";

/**
 * Writes what the workspace keeps of a manifest that was just put in force.
 *
 * @param before the history that it follows; undefined: it is the first
 * @returns the paths of the files
 * @throws HistoryError where what the Coordinator answered does not continue that history
 */
export async function writeNewManifest(
  context: Context,
  coordinator: Coordinator,
  response: SetManifestResponse,
  manifest: Uint8Array,
  before: AttestedHistory | undefined,
): Promise<string[]> {
  const shares = response.seedShares && encodeSeedSharesFile(response.seedShares);
  const files = {
    ...(shares === undefined || (await isWritten(context, shares)) ? {} : { [FILES.seedShares]: shares }),
    [FILES.rootCa]: response.rootCaCert,
    [FILES.meshCa]: response.meshCaCert,
    [FILES.pin]: encodePin(await pinOf(context, coordinator, response, { manifest, before })),
  };
  await writeOutputs(context.workspace, files);
  return Object.keys(files).map((name) => join(context.workspace, name));
}

/** What the Coordinator answered is the step that was asked for, in the history that was there before. @throws HistoryError */
async function pinOf(
  context: Context,
  coordinator: Coordinator,
  response: SetManifestResponse,
  { manifest, before }: { readonly manifest: Uint8Array; readonly before: AttestedHistory | undefined },
): Promise<Pin> {
  const transition = readTransition(response.transitionRecord, response.latestTransition, "the new manifest");
  const kept = before?.steps.at(-1)?.annex;
  // A rekey encrypts all secrets anew, so that the annex is another, which did not come along.
  const annex =
    transition.annex === undefined || transition.annex === (kept && sha256Hex(kept))
      ? kept
      : (await activeHistory(context, coordinator))?.steps.find((step) => step.transition.digest === transition.digest)
          ?.annex;
  requireHistory([...(before?.steps ?? []), { transition, manifest, annex }]);
  const [rootKey, meshKey] = [keyOf(response.rootCaCert, "root CA"), keyOf(response.meshCaCert, "mesh CA")];
  if (rootKey !== transition.rootKey) {
    throw new HistoryError("broken_history", "the root CA is not the one of the history", {
      got: rootKey,
      want: transition.rootKey,
    });
  }
  return { transition: transition.digest, rootKey, meshKey };
}

async function isWritten(context: Context, shares: string): Promise<boolean> {
  const before = await readIfPresent(join(context.workspace, FILES.seedShares), "the seed shares");
  return before?.equals(Buffer.from(shares)) === true;
}
