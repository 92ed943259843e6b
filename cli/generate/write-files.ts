import { mkdir, realpath, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { type StagedFile, stageFile } from "../../runtime/files.ts";
import { GenerateError, systemReason } from "./error.ts";

export interface FileChange {
  readonly path: string;
  readonly content: string | Uint8Array;
  /** Of a file that is new. One that is there keeps its own. */
  readonly mode: 0o600 | 0o644;
}

/**
 * Writes files, all or none: what can fail, such as a disk without room, fails before the first of them changes.
 *
 * @throws GenerateError unwritable_file
 */
export async function writeFiles(changes: readonly FileChange[]): Promise<void> {
  const staged: StagedFile[] = [];
  try {
    for (const change of changes) staged.push(await writing(change.path, () => stage(change)));
  } catch (error) {
    await Promise.all(staged.map((file) => file.discard()));
    throw error;
  }
  for (const [index, file] of staged.entries()) await writing(changes[index]?.path ?? "", () => file.commit());
}

async function stage({ path, content, mode }: FileChange): Promise<StagedFile> {
  await mkdir(dirname(path), { recursive: true });
  const before = await stat(path).catch(() => undefined);
  // A link is to stay a link.
  const target = before === undefined ? path : await realpath(path);
  return stageFile(target, content, before === undefined ? mode : before.mode & 0o777);
}

async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    const fault = { where: path, got: systemReason(error), want: "a file that can be written" };
    throw new GenerateError("unwritable_file", "a file can't be written", [fault], error);
  }
}
