import { chmod, mkdir, mkdtemp, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { replaceFile, syncDirectory } from "../runtime/files.ts";

/**
 * Publishes files as one set, as kubelet does for mounted secrets: the files lie in a directory of their own, `..data`
 * is a link to it, and every name is a link through `..data`. Replacing that one link replaces all files in the same
 * instant; before the first time every name leads nowhere.
 */
export interface PublishedFile {
  readonly name: string;
  readonly content: string;
  readonly mode: number;
}

const CURRENT = "..data";
const SET_PREFIX = "..set-";

/** @throws the system's error; the old set is then still the published one */
export async function publish(directory: string, files: readonly PublishedFile[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  const before = await readdir(directory);
  const set = await mkdtemp(join(directory, SET_PREFIX));
  try {
    for (const file of files) await replaceFile(join(set, file.name), file.content, file.mode);
    await chmod(set, 0o755);
    for (const file of files) await link(directory, file.name, join(CURRENT, file.name));
    await link(directory, CURRENT, basename(set));
    await syncDirectory(directory);
  } catch (error) {
    await rm(set, { recursive: true, force: true });
    throw error;
  }
  await removeOld(directory, before, files);
}

/** Makes or replaces a link in one step: there is no instant without it. */
async function link(directory: string, name: string, target: string): Promise<void> {
  const path = join(directory, name);
  if ((await targetOf(path)) === target) return;
  const temporary = join(directory, `..${name}.tmp`);
  await rm(temporary, { force: true });
  await symlink(target, temporary);
  await rename(temporary, path);
}

/** The sets of before, and the names that only they had: a secret that the policy no longer grants must not linger. */
async function removeOld(directory: string, before: readonly string[], files: readonly PublishedFile[]): Promise<void> {
  for (const name of before) {
    const path = join(directory, name);
    const stale = (await targetOf(path)) === join(CURRENT, name) && files.every((file) => file.name !== name);
    if (stale || name.startsWith(SET_PREFIX)) await rm(path, { recursive: true, force: true });
  }
}

/** @returns undefined where there is nothing, or something that is no link */
async function targetOf(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}
