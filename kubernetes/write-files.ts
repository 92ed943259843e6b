import { mkdir, readFile, realpath, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { type StagedFile, stageFile } from "../runtime/files.ts";
import { ResourceError, systemReason } from "./error.ts";

export interface FileChange {
  readonly path: string;
  readonly content: string | Uint8Array;
  /** Of a file that is new. One that is there keeps its own. */
  readonly mode: 0o600 | 0o644;
}

/** A change that is on the disk, but not yet under the file's name. */
interface Staged {
  readonly path: string;
  readonly file: StagedFile;
  /** Puts back what was there. */
  readonly undo: () => Promise<void>;
}

/**
 * Writes files, all or none: what can fail, such as a disk without room, fails before the first of them changes, and a
 * failure after that takes back what was done. Each file is replaced as a whole; only a crash between two of them can
 * leave some new and some old, and then running it again completes the work.
 *
 * @throws ResourceError unwritable_file
 */
export async function writeFiles(changes: readonly FileChange[]): Promise<void> {
  const staged: Staged[] = [];
  let done = 0;
  try {
    for (const change of changes) staged.push(await writing(change.path, () => stage(change)));
    for (const { path, file } of staged) {
      await writing(path, () => file.commit());
      done++;
    }
  } catch (error) {
    for (const { file } of staged.slice(done)) await file.discard();
    for (const { path, undo } of staged.slice(0, done).toReversed()) await writing(path, undo);
    throw error;
  }
}

async function stage({ path, content, mode }: FileChange): Promise<Staged> {
  await mkdir(dirname(path), { recursive: true });
  const before = await stat(path).catch(ignoreMissing);
  if (before === undefined) return { path, file: await stageFile(path, content, mode), undo: () => rm(path) };
  // A link is to stay a link.
  const target = await realpath(path);
  const bytes = await readFile(target);
  const permissions = before.mode & 0o777;
  const file = await stageFile(target, content, permissions, before);
  return { path, file, undo: async () => (await stageFile(target, bytes, permissions, before)).commit() };
}

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
}

async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const fault = { where: path, got: systemReason(error), want: "a file that can be written" };
    throw new ResourceError("unwritable_file", "a file can't be written", [fault], error);
  }
}
