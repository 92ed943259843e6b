import { basename, dirname } from "node:path";
import { Refusal } from "../../api/refusal.ts";
import { type Context, printResult } from "../context.ts";
import { encodeArchive } from "../workspace/archive.ts";
import { type HistoryPlace, readHistoryPlace } from "../workspace/history-place.ts";
import { readStoredHistory } from "../workspace/stored-history.ts";
import { writeOutputs } from "../workspace/workspace.ts";

export interface BackupOptions extends HistoryPlace {
  readonly outputFile: string;
}

/**
 * `contrast backup`: a history in one file, with all that its pointer leads to. Coordinators may run meanwhile: what a
 * pointer leads to never changes.
 */
export async function backup(context: Context, options: BackupOptions): Promise<void> {
  const history = await readHistoryPlace(context, options, readStoredHistory);
  if (history === undefined) {
    throw new Refusal("no_manifest", "there is no history yet, so there is nothing to back up", {
      where: options.stateDir ?? `namespace ${options.namespace}, state ${options.stateName}`,
      hint: "run `contrast set` first; or look at --state-dir, --namespace and --state-name",
    });
  }
  const { outputFile } = options;
  await writeOutputs(dirname(outputFile), { [basename(outputFile)]: encodeArchive(history) });
  printResult(context, false, {
    result: "history backed up",
    "latest transition": history.pointer.transition,
    generation: history.generation,
    sequence: history.pointer.sequence,
    records: history.records.length,
    written: [outputFile],
  });
}
