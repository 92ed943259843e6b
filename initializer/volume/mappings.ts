import { mkdir, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { VolumeError } from "./error.ts";
import { attachLoop, blockDeviceNumber, mountMemory } from "./kernel.ts";
import {
  BLOCK,
  JOURNAL_SECTORS,
  LOG2_INTERLEAVE_SECTORS,
  SECTOR,
  SUPERBLOCK_SECTORS,
  TAG,
  takenSectors,
} from "./layout.ts";
import { makeLuks2Header } from "./luks2-header.ts";
import { makeSuperblock, SUPERBLOCK_BYTES } from "./superblock.ts";
import { runTool } from "./tool.ts";
import { CIPHER_KEY, MAC_KEY, type VolumeKey } from "./volume-key.ts";

/**
 * The devices of a volume, one on the other:
 *
 *     /dev/mapper/NAME        dm-crypt: decrypts, and checks every block's tag
 *     /dev/mapper/NAME_dif    dm-integrity: keeps block and tag together, by its journal
 *     /dev/mapper/NAME_disk   dm-linear: a superblock in the guest's memory, then the disk behind its own
 *
 * cryptsetup makes the upper two from a header in the guest's memory.
 */

const CRYPTSETUP = "/sbin/cryptsetup";
const DMSETUP = "/sbin/dmsetup";
const MKFS = "/sbin/mkfs.ext4";
const NODES = "/dev/mapper";

/** Of ext4 with blocks of 4096 bytes: as many blocks as a block has bits. Bytes. */
const GROUP = 8 * BLOCK * BLOCK;

/** A format writes some hundredths of the disk. */
const FORMAT_MS = 3_600_000;

export interface MappingNames {
  /** What is mounted. */
  readonly volume: string;
  /** cryptsetup chooses it. */
  readonly integrity: string;
  readonly disk: string;
  readonly format: string;
}

/** Names of volumes have no underscore, so no two volumes of a pod have one of these in common. */
export function mappingNames(name: string): MappingNames {
  const volume = `contrast-volume-${name}`;
  return { volume, integrity: `${volume}_dif`, disk: `${volume}_disk`, format: `${volume}_format` };
}

export class Mappings {
  readonly #names: MappingNames;
  readonly #device: string;
  readonly #memory: string;

  /**
   * @param name of the volume, as it is in its key
   * @param device of the disk
   * @param memory a folder for a tmpfs of its own
   */
  constructor(name: string, device: string, memory: string) {
    this.#names = mappingNames(name);
    this.#device = device;
    this.#memory = memory;
  }

  /** What is mounted. */
  get path(): string {
    return join(NODES, this.#names.volume);
  }

  /**
   * Removes what an earlier container left.
   *
   * @returns false where the volume is in use by somebody else in this VM, and stays
   * @throws VolumeError volume_tool_failed
   */
  async close(): Promise<boolean> {
    const active = await activeMappings();
    if (active.has(this.#names.volume)) {
      try {
        await runTool(CRYPTSETUP, ["close", this.#names.volume]);
      } catch (error) {
        if (await this.#isInUse()) return false;
        throw error;
      }
    }
    for (const name of [this.#names.integrity, this.#names.format, this.#names.disk]) {
      if ((await activeMappings()).has(name)) await runTool(DMSETUP, ["remove", "--retry", name]);
    }
    return true;
  }

  /** Makes the node of a volume that is open: that of an earlier container went with it. */
  async showNode(): Promise<void> {
    await runTool(DMSETUP, ["mknodes", this.#names.volume]);
  }

  async #isInUse(): Promise<boolean> {
    const count = await runTool(DMSETUP, ["info", "--columns", "--noheadings", "-o", "open", this.#names.volume]);
    return Number(count.trim()) > 0;
  }

  /**
   * Opens the volume.
   *
   * @param provided its sectors
   * @throws VolumeError volume_tool_failed
   */
  async open(key: VolumeKey, provided: number): Promise<void> {
    await this.#linear(makeSuperblock(provided), provided);
    await this.#crypt(key);
  }

  /**
   * Makes a new volume with an ext4, and opens it. What the disk had is lost. The disk gets its superblock last: a format that
   * does not come to its end leaves a disk that is no volume.
   *
   * @param provided sectors
   * @throws VolumeError volume_tool_failed; the system's error where the disk can't be written
   */
  async format(key: VolumeKey, provided: number): Promise<void> {
    const superblock = makeSuperblock(provided);
    await this.#mark(Buffer.alloc(SUPERBLOCK_BYTES));
    const file = await this.#linear(Buffer.alloc(SUPERBLOCK_BYTES), provided);
    await this.#initializeJournal();
    if (!(await readFile(file)).equals(superblock)) {
      throw new VolumeError("volume_tool_failed", "this kernel makes another superblock of dm-integrity", {
        where: file,
        hint: "the guest's kernel is not one that this version knows: report it with its version",
      });
    }
    await this.#crypt(key);
    await this.#clearForMkfs(provided);
    await runTool(
      MKFS,
      ["-q", "-F", "-b", String(BLOCK), "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", this.path],
      { timeout: FORMAT_MS },
    );
    await this.#mark(superblock);
  }

  /** @returns the file that is the superblock */
  async #linear(superblock: Buffer, provided: number): Promise<string> {
    await mkdir(this.#memory, { recursive: true });
    if (!(await isOtherFileSystem(this.#memory))) await mountMemory(this.#memory);
    const file = join(this.#memory, "superblock");
    await writeFile(file, superblock, { mode: 0o600 });
    const loop = await attachLoop(file, this.#memory);
    try {
      const rest = takenSectors(provided) - SUPERBLOCK_SECTORS;
      const table = [
        `0 ${SUPERBLOCK_SECTORS} linear ${loop.number} 0`,
        `${SUPERBLOCK_SECTORS} ${rest} linear ${await blockDeviceNumber(this.#device)} ${SUPERBLOCK_SECTORS}`,
      ];
      await runTool(DMSETUP, ["create", this.#names.disk], { input: `${table.join("\n")}\n` });
    } finally {
      await loop.close();
    }
    return file;
  }

  /** dm-integrity makes a superblock and a journal where it finds zeros. */
  async #initializeJournal(): Promise<void> {
    const options = [
      `journal_sectors:${JOURNAL_SECTORS}`,
      `interleave_sectors:${2 ** LOG2_INTERLEAVE_SECTORS}`,
      `block_size:${BLOCK}`,
      "fix_padding",
    ];
    const disk = await blockDeviceNumber(join(NODES, this.#names.disk));
    const table = `0 8 integrity ${disk} 0 ${TAG} J ${options.length} ${options.join(" ")}\n`;
    await runTool(DMSETUP, ["create", this.#names.format], { input: table });
    await runTool(DMSETUP, ["remove", "--retry", this.#names.format]);
  }

  async #crypt(key: VolumeKey): Promise<void> {
    const header = join(this.#memory, "header");
    const keyFile = join(this.#memory, "key");
    try {
      await writeFile(header, makeLuks2Header(key), { mode: 0o600 });
      await writeFile(keyFile, key.bytes.reveal(), { mode: 0o600 });
      const source = ["--volume-key-file", keyFile, "--key-size", String(8 * (CIPHER_KEY + MAC_KEY))];
      const without = ["--disable-locks", "--disable-keyring", "--disable-external-tokens"];
      const from = ["--type", "luks2", "--header", header, ...source, ...without, join(NODES, this.#names.disk)];
      await runTool(CRYPTSETUP, ["open", ...from, this.#names.volume]);
    } finally {
      await rm(keyFile, { force: true });
    }
  }

  /**
   * Blocks that were never written can't be read. mkfs looks for what was there before, at both ends, and writes copies of
   * ext4's superblock, which are smaller than a block, at the beginning of groups.
   */
  async #clearForMkfs(provided: number): Promise<void> {
    const file = await open(this.path, "r+");
    try {
      const bytes = provided * SECTOR;
      const zeros = Buffer.alloc(2 ** 20);
      await file.write(zeros, 0, zeros.length, 0);
      await file.write(zeros, 0, zeros.length, bytes - zeros.length);
      for (let at = GROUP; at + BLOCK <= bytes; at += GROUP) await file.write(zeros, 0, BLOCK, at);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #mark(superblock: Buffer): Promise<void> {
    const file = await open(this.#device, "r+");
    try {
      await file.write(superblock, 0, superblock.length, 0);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

/** Of the whole VM: nodes in /dev are the container's own. */
async function activeMappings(): Promise<ReadonlySet<string>> {
  const devices = (await readdir("/sys/block")).filter((name) => /^dm-\d+$/.test(name));
  const names = devices.map((device) => readFile(`/sys/block/${device}/dm/name`, "utf8").catch(() => ""));
  return new Set((await Promise.all(names)).map((name) => name.trim()));
}

async function isOtherFileSystem(directory: string): Promise<boolean> {
  return (await stat(directory)).dev !== (await stat(join(directory, ".."))).dev;
}
