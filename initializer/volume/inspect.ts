import { MalformedBytes } from "../../bytes/cursor.ts";
import { isExt4, openBlockZero, type ReadSectors, storedBlocksZero } from "./block-zero.ts";
import { INITIAL_SECTORS, SECTOR, SUPERBLOCK_SECTORS } from "./layout.ts";
import { readSuperblock } from "./superblock.ts";
import type { VolumeKey } from "./volume-key.ts";

/** What a disk holds, by reading alone. */
export type Finding =
  /** A volume under this key. @see Found.provided sectors */
  | { readonly kind: "volume"; readonly key: VolumeKey; readonly provided: number }
  /** Zeros alone, where a volume has its superblock, its journal and its first block. */
  | { readonly kind: "empty" }
  /** Anything else. */
  | { readonly kind: "unreadable"; readonly where: string; readonly got: string; readonly want: string };

/**
 * Looks at a disk. Nothing of it is given to the kernel.
 *
 * @param disk its sectors
 * @param keys the likeliest first
 * @throws VolumeError volume_unsuitable; the system's error where the disk can't be read
 */
export async function inspect(read: ReadSectors, disk: number, keys: readonly VolumeKey[]): Promise<Finding> {
  const superblock = await read(0, SUPERBLOCK_SECTORS);
  let provided: number;
  try {
    provided = readSuperblock(superblock, disk);
  } catch (error) {
    if (!(error instanceof MalformedBytes)) throw error;
    if (await isEmpty(read)) return { kind: "empty" };
    const { got, want } = error;
    const where = `superblock of dm-integrity, ${error.field}`;
    return { kind: "unreadable", where, got: isZero(superblock) ? WITHOUT : (known(superblock) ?? got), want };
  }
  for await (const block of storedBlocksZero(read)) {
    for (const key of keys) {
      const plain = openBlockZero(block, key);
      if (plain === undefined) continue;
      if (isExt4(plain)) return { kind: "volume", key, provided };
      return { kind: "unreadable", where: "block 0", got: "authentic data that is no ext4", want: "an ext4" };
    }
  }
  return {
    kind: "unreadable",
    where: "block 0",
    got: "a tag that no key of this workload makes",
    want: "a volume of this workload and of this name",
  };
}

const WITHOUT =
  "zeros, and other data behind them: a format that did not come to its end, or an overwritten superblock";

async function isEmpty(read: ReadSectors): Promise<boolean> {
  const step = 2048;
  // A little more than the journal: the first tags and blocks.
  for (let sector = 0; sector < INITIAL_SECTORS + step; sector += step) {
    if (!isZero(await read(sector, step))) return false;
  }
  return true;
}

function isZero(bytes: Buffer): boolean {
  return bytes.equals(Buffer.alloc(bytes.length));
}

/** What may lie on a disk that is no volume. */
const KNOWN: readonly (readonly [at: number, magic: string, name: string])[] = [
  [0, "LUKS\xba\xbe", "a LUKS header"],
  [1024 + 56, "\x53\xef", "an ext4 that is not encrypted"],
  [0, "XFSB", "an XFS that is not encrypted"],
  [SECTOR, "EFI PART", "a table of partitions"],
  [510, "\x55\xaa", "a table of partitions"],
];

function known(bytes: Buffer): string | undefined {
  return KNOWN.find(([at, magic]) => bytes.toString("latin1", at, at + magic.length) === magic)?.[2];
}
