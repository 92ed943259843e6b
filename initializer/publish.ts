import { chmod, mkdir, mkdtemp, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { quote } from "../runtime/fault.ts";
import { replaceFile, syncDirectory } from "../runtime/files.ts";

/**
 * Publishes files as one set, as kubelet does for mounted secrets: the files lie in a directory of their own, `..data`
 * is a link to it, and every name is a link through `..data`. Replacing that one link replaces all files in the same
 * instant; before the first time every name leads nowhere.
 */
export interface PublishedFile {
  /** `key.pem`, or `secrets/db` in a folder that is a part of the set. */
  readonly name: string;
  readonly content: string | Uint8Array;
  readonly mode: number;
}

const CURRENT = "..data";
const SET_PREFIX = "..set-";

/** Where a container that mounts the volume at `/contrast` looks for `/contrast/tls-config/key.pem`, as elsewhere. */
const ALIAS = "tls-config";

/** No name leads to another place, or is one of this program's own. */
const NAME = /^(?:[A-Za-z0-9][-_.@A-Za-z0-9]*\/)?[A-Za-z0-9][-_.@A-Za-z0-9]*$/;

/** @throws the system's error; the old set is then still the published one */
export async function publish(directory: string, files: readonly PublishedFile[]): Promise<void> {
  requireNames(files);
  await mkdir(directory, { recursive: true });
  const before = await readdir(directory);
  const set = await mkdtemp(join(directory, SET_PREFIX));
  const names = new Set(files.map(topOf));
  const folders = new Set(files.map(({ name }) => dirname(name)).filter((folder) => folder !== "."));
  try {
    for (const folder of folders) await mkdir(join(set, folder), 0o700);
    for (const file of files) await replaceFile(join(set, file.name), file.content, file.mode);
    for (const folder of [...folders, "."]) await chmod(join(set, folder), 0o755);
    for (const name of names) await link(directory, name, join(CURRENT, name));
    await link(directory, ALIAS, CURRENT);
    await link(directory, CURRENT, basename(set));
    await syncDirectory(directory);
  } catch (error) {
    await rm(set, { recursive: true, force: true });
    throw error;
  }
  await removeOld(directory, before, names);
}

function topOf({ name }: PublishedFile): string {
  return name.split("/", 1)[0] ?? name;
}

function requireNames(files: readonly PublishedFile[]): void {
  const names = new Set<string>();
  for (const file of files) {
    if (!NAME.test(file.name) || topOf(file) === ALIAS || names.has(file.name)) {
      throw new TypeError(`no name for a file of a set: ${quote(file.name)}`);
    }
    names.add(file.name);
  }
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
async function removeOld(directory: string, before: readonly string[], names: ReadonlySet<string>): Promise<void> {
  for (const name of before) {
    const path = join(directory, name);
    const stale = (await targetOf(path)) === join(CURRENT, name) && !names.has(name);
    if (stale || name.startsWith(SET_PREFIX)) await rm(path, { recursive: true, force: true });
  }
}

/** @returns undefined where there is nothing, or something that is no link */
async function targetOf(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}
