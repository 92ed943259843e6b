import { readFile } from "node:fs/promises";
import { Refusal } from "../../api/refusal.ts";
import type { Store } from "../../store/store.ts";
import { CliError, type Context, printResult } from "../context.ts";
import { openArchive } from "../workspace/archive.ts";
import { type HistoryPlace, writeHistoryPlace } from "../workspace/history-place.ts";
import { readStoredHistory, type StoredHistory } from "../workspace/stored-history.ts";
import { relationOf } from "./compare.ts";

export interface RestoreOptions extends HistoryPlace {
  readonly replace?: boolean;
}

/** `contrast restore`: a history from one file to where a Coordinator finds it. Then its owners recover it. */
export async function restore(context: Context, path: string, options: RestoreOptions): Promise<void> {
  const history = await readStoredHistory(openArchive(path, await readBackup(path)));
  if (history === undefined) throw new CliError("malformed_file", "this backup has no history", { where: path });
  const had = await writeHistoryPlace(context, options, (store) => put(store, history, options.replace === true));
  printResult(context, false, {
    result: had === "same" ? "the history was there, and each of its records was written again" : "history restored",
    "latest transition": history.pointer.transition,
    generation: history.generation,
    sequence: history.pointer.sequence,
    records: history.records.length,
    next: "start the Coordinator, then run contrast recover with the seed share owners",
  });
}

/** @returns what was there: nothing, or what the backup is beside it */
async function put(store: Store, history: StoredHistory, replace: boolean): Promise<string> {
  const before = await readPresent(store);
  if (before !== "unreadable") requireLeave(history, before, replace);
  for (const { kind, bytes } of history.records) await store.put(kind, bytes);
  // What was damaged may be whole now, and says what is there.
  const present = before === "unreadable" ? await readPresent(store) : before;
  if (present === "unreadable" && !replace) throw unreadable();
  if (present !== "unreadable") requireLeave(history, present, replace);
  const relation = typeof present === "object" ? relationOf(history, present) : "nothing";
  if (relation !== "same") await store.compareAndSwapLatest(await store.latest(), history.pointer.raw);
  return relation;
}

async function readPresent(store: Store): Promise<StoredHistory | undefined | "unreadable"> {
  try {
    return await readStoredHistory(store);
  } catch (error) {
    if (error instanceof Refusal && error.code === "damaged_state") return "unreadable";
    throw error;
  }
}

/** @throws CliError backup_outdated, another_deployment */
function requireLeave(history: StoredHistory, present: StoredHistory | undefined, replace: boolean): void {
  if (present === undefined || replace) return;
  const relation = relationOf(history, present);
  const facts = {
    got: `sequence ${history.pointer.sequence}, transition ${history.pointer.transition}`,
    want: `what continues sequence ${present.pointer.sequence}, transition ${present.pointer.transition}`,
  };
  if (relation === "older") {
    throw new CliError("backup_outdated", "the history that is there is newer than the backup", {
      ...facts,
      hint: "with --replace its later changes are lost; owners who have pinned them will refuse to recover",
    });
  }
  if (relation === "other") {
    throw new CliError("another_deployment", "the history that is there is another one", {
      ...facts,
      hint: "look at --namespace, --state-name and --state-dir; with --replace it is lost, so back it up before",
    });
  }
}

function unreadable(): CliError {
  return new CliError("another_deployment", "the history that is there is damaged, and the backup does not mend it", {
    hint: "its pointer is another than the backup's; with --replace it is lost",
  });
}

async function readBackup(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    const got = (cause as NodeJS.ErrnoException).code;
    throw new CliError("unreadable_file", "the backup can't be read", { where: path, got, cause });
  }
}
