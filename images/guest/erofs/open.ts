import type { Stats } from "node:fs";
import { lstat, open, readFile, readdir, readlink, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { run } from "../../run.ts";
import type { Changes, Entry, RootFileSystem } from "../root-file-system.ts";
import { editErofs, readAt } from "./edit.ts";
import { BLOCK, damaged, readSuperblock } from "./layout.ts";

/**
 * erofs, read from what fsck.erofs extracts, and edited in its file.
 *
 * @param file the file system alone, which is changed; a folder is made beside it
 */
export async function openErofs(file: string, stop?: AbortSignal): Promise<RootFileSystem> {
  const disk = new Erofs(file, stop);
  await disk.extract();
  return disk;
}

class Erofs implements RootFileSystem {
  readonly type = "erofs";
  readonly #file: string;
  readonly #tree: string;
  readonly #stop: AbortSignal | undefined;

  constructor(file: string, stop: AbortSignal | undefined) {
    this.#file = file;
    this.#tree = join(dirname(file), "tree");
    this.#stop = stop;
  }

  /** Checks it, too. Who owns a file is not taken over, so it takes no root. */
  async extract(): Promise<void> {
    await this.#checkSuperblock();
    await rm(this.#tree, { recursive: true, force: true });
    try {
      const args = ["--extract=tree", "--no-preserve", basename(this.#file)];
      await run("fsck.erofs", args, { cwd: dirname(this.#file), stop: this.#stop });
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "build_failed")
        throw damaged(error.message, error);
      throw error;
    }
  }

  async stat(path: string): Promise<Entry | undefined> {
    const found = await this.#lstat(path);
    if (found === undefined) return undefined;
    const isExecutable = (found.mode & 0o111) !== 0;
    if (found.isFile()) return { kind: "file", isExecutable };
    if (found.isDirectory()) return { kind: "folder", isExecutable };
    return { kind: found.isSymbolicLink() ? "link" : "other", isExecutable };
  }

  read(path: string): Promise<Buffer> {
    return readFile(join(this.#tree, path));
  }

  readLink(path: string): Promise<string> {
    return readlink(join(this.#tree, path));
  }

  async list(path: string): Promise<readonly string[]> {
    return (await this.#lstat(path))?.isDirectory() === true ? (await readdir(join(this.#tree, path))).sort() : [];
  }

  async apply(changes: Changes): Promise<void> {
    const file = await open(this.#file, "r+");
    try {
      await editErofs(file, changes);
    } finally {
      await file.close();
    }
    await this.extract();
    for (const { path, content } of changes.files) {
      const isThere = (await this.stat(path))?.kind === "file" && (await this.read(path)).equals(content);
      if (!isThere) throw damaged(`${path} is not what was added`);
    }
  }

  /** fsck.erofs does not fail because of a checksum. */
  async #checkSuperblock(): Promise<void> {
    const file = await open(this.#file);
    try {
      readSuperblock(await readAt(file, 0, BLOCK));
    } finally {
      await file.close();
    }
  }

  /** A link on the way would lead out of the tree. */
  async #lstat(path: string): Promise<Stats | undefined> {
    const parts = path.split("/").slice(1);
    let found: Stats | undefined;
    for (const depth of parts.keys()) {
      if (found !== undefined && !found.isDirectory()) return undefined;
      found = await lstat(join(this.#tree, ...parts.slice(0, depth + 1))).catch(() => undefined);
      if (found === undefined) return undefined;
    }
    return found;
  }
}
