import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/**
 * Replaces a file as a whole: whoever reads it, at any time and after any crash, finds the old bytes or the new ones.
 * The bytes are on the disk when this resolves.
 *
 * @param mode of the new file, not reduced by the umask
 * @throws the system's error; the old file is then untouched
 */
export async function replaceFile(path: string, bytes: string | Uint8Array, mode = 0o644): Promise<void> {
  const staged = await stageFile(path, bytes, mode);
  await staged.commit();
}

/** Bytes that are on the disk, but not yet under their name. */
export interface StagedFile {
  /** As `replaceFile`, with next to nothing left that can fail. */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

/** Whom a file belongs to. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The first half of `replaceFile`, for several files that are to change together.
 *
 * @param owner of the new file, as far as this process may give files away
 */
export async function stageFile(
  path: string,
  bytes: string | Uint8Array,
  mode = 0o644,
  owner?: FileOwner,
): Promise<StagedFile> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  const discard = (): Promise<void> => rm(temporary, { force: true });
  try {
    const file = await open(temporary, "wx", mode);
    try {
      if (owner !== undefined) await file.chown(owner.uid, owner.gid).catch(ignoreNotPermitted);
      // After the owner, for whose change the system may take bits of the mode away.
      await file.chmod(mode);
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await discard();
    throw error;
  }
  const commit = async (): Promise<void> => {
    try {
      await rename(temporary, path);
    } catch (error) {
      await discard();
      throw error;
    }
    await syncDirectory(dirname(path));
  };
  return { commit, discard };
}

/** Makes a directory where there is none, and those above it; they are on the disk when this resolves. */
export async function makeDirectory(path: string, mode = 0o777): Promise<void> {
  const first = await mkdir(resolve(path), { recursive: true, mode });
  if (first === undefined) return;
  for (let made = resolve(path); made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
}

/** Makes names in a directory durable: without it a rename may be forgotten by a power loss. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function ignoreNotPermitted(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
}
