import { open, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { run } from "../run.ts";
import { GuestImageError } from "./error.ts";
import type { Changes, Entry, RootFileSystem } from "./root-file-system.ts";

/**
 * ext4, edited in its file by debugfs (e2fsprogs), without root and without mounting it. debugfs returns 0 whatever
 * happens, so everything is read back.
 */

const SUPERBLOCK = 1024;
const MAGIC = 0xef53;
const NEEDS_RECOVERY = 0x4;
const IS_64_BIT = 0x80;

/** Offsets from struct ext4_super_block (Linux, fs/ext4/ext4.h). */
const AT = { blocks: 0x04, blockSize: 0x18, written: 0x30, magic: 0x38, incompatible: 0x60, blocksHigh: 0x150 };

export function isExt4(start: Buffer): boolean {
  return start.length >= SUPERBLOCK + 1024 && start.readUInt16LE(SUPERBLOCK + AT.magic) === MAGIC;
}

/** Bytes that the file system says it has. @param start of the partition, at least 2048 bytes */
export function ext4Size(start: Buffer): number {
  const superblock = start.subarray(SUPERBLOCK);
  const high =
    (superblock.readUInt32LE(AT.incompatible) & IS_64_BIT) === 0 ? 0 : superblock.readUInt32LE(AT.blocksHigh);
  return (high * 2 ** 32 + superblock.readUInt32LE(AT.blocks)) * (1024 << superblock.readUInt32LE(AT.blockSize));
}

/** @param file the file system alone, which is changed */
export async function openExt4(file: string, stop?: AbortSignal): Promise<RootFileSystem> {
  const start = Buffer.alloc(2 * SUPERBLOCK);
  const handle = await open(file);
  try {
    await handle.read(start, 0, start.length, 0);
  } finally {
    await handle.close();
  }
  if ((start.readUInt32LE(SUPERBLOCK + AT.incompatible) & NEEDS_RECOVERY) !== 0) throw damaged("a journal to replay");
  const disk = new Ext4(file, start.readUInt32LE(SUPERBLOCK + AT.written), stop);
  await disk.check();
  return disk;
}

class Ext4 implements RootFileSystem {
  readonly type = "ext4";
  readonly #folder: string;
  readonly #name: string;
  /** Seconds; the same image gives the same result at any time. */
  readonly #time: number;
  readonly #stop: AbortSignal | undefined;

  constructor(file: string, time: number, stop: AbortSignal | undefined) {
    this.#folder = dirname(file);
    this.#name = basename(file);
    this.#time = time;
    this.#stop = stop;
  }

  async check(): Promise<void> {
    try {
      await this.#run("e2fsck", ["-fn", this.#name]);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "build_failed")
        throw damaged(error.message, error);
      throw error;
    }
  }

  async stat(path: string): Promise<Entry | undefined> {
    const [, type, mode] = /Type: (\S+) +Mode: +([0-7]+)/.exec(await this.#debugfs([`stat ${path}`])) ?? [];
    if (type === undefined || mode === undefined) return undefined;
    const kind = ({ regular: "file", directory: "folder", symlink: "link" } as const)[type] ?? "other";
    return { kind, isExecutable: (Number.parseInt(mode, 8) & 0o111) !== 0 };
  }

  async read(path: string): Promise<Buffer> {
    const copy = join(this.#folder, "copy");
    await rm(copy, { force: true });
    await this.#debugfs([`dump ${path} copy`]);
    return readFile(copy).catch((error: unknown) => {
      throw damaged(`no contents of ${path}`, error);
    });
  }

  async readLink(path: string): Promise<string> {
    const shown = await this.#debugfs([`stat ${path}`]);
    const fast = /^Fast link dest: "(.*)"$/m.exec(shown)?.[1];
    return fast ?? (await this.read(path)).toString();
  }

  async list(path: string): Promise<readonly string[]> {
    const lines = (await this.#debugfs([`ls -p ${path}`])).split("\n");
    // /inode/mode/uid/gid/name/size/
    const names = lines.flatMap((line) => /^\/[1-9]\d*\/\d+\/\d+\/\d+\/([^/]+)\//.exec(line)?.[1] ?? []);
    return names.filter((name) => name !== "." && name !== "..");
  }

  async apply({ remove, folders, files }: Changes): Promise<void> {
    const commands = [
      ...remove.map((path) => `rm ${path}`),
      ...folders.flatMap((path) => [`mkdir ${path}`, ...this.#owned(path, 0o40755)]),
      ...files.flatMap(({ path, mode }, index) => [
        `write new-${index} ${path}`,
        ...this.#owned(path, 0o100000 | mode),
      ]),
    ];
    for (const [index, { content }] of files.entries()) await writeFile(join(this.#folder, `new-${index}`), content);
    await this.#debugfs(commands, true);
    for (const { path, content } of files) {
      const isThere = (await this.stat(path))?.kind === "file" && (await this.read(path)).equals(content);
      if (!isThere)
        throw new GuestImageError("filesystem_full", "the image has no room for what is added", {
          where: path,
          hint: "take an image as Kata builds it, which has room",
        });
    }
    for (const path of remove) {
      const isNew = files.some((file) => file.path === path);
      if (!isNew && (await this.stat(path)) !== undefined) throw damaged(`${path} can't be removed`);
    }
    await this.check();
  }

  #owned(path: string, mode: number): string[] {
    const times = ["ctime", "atime", "mtime", "crtime"].map((field) => [field, `@${this.#time}`] as const);
    const fields = [
      ["mode", `0${mode.toString(8)}`],
      ["uid", "0"],
      ["gid", "0"],
      ["generation", "0"],
      ...times,
    ] as const;
    return fields.map(([field, value]) => `sif ${path} ${field} ${value}`);
  }

  /** @returns what the commands printed */
  async #debugfs(commands: readonly string[], isWriting = false): Promise<string> {
    await writeFile(join(this.#folder, "commands"), `${commands.join("\n")}\n`);
    return this.#run("debugfs", [...(isWriting ? ["-w"] : []), "-f", "commands", this.#name]);
  }

  #run(tool: string, args: readonly string[]): Promise<string> {
    const env = { E2FSPROGS_FAKE_TIME: `${this.#time}`, SOURCE_DATE_EPOCH: `${this.#time}` };
    return run(tool, args, { cwd: this.#folder, stop: this.#stop, env });
  }
}

function damaged(got: string, cause?: unknown): GuestImageError {
  return new GuestImageError("filesystem_damaged", "the root file system is damaged", {
    got,
    want: "ext4 that e2fsck finds nothing wrong with",
    hint: "download the image again",
    cause,
  });
}
