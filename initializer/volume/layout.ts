import { VolumeError } from "./error.ts";

/**
 * Where things lie on the disk: superblock, journal, then areas of tags and data in turn, as dm-integrity of Linux lays them
 * out (drivers/md/dm-integrity.c: calculate_journal_section_size, calculate_device_limits, get_area_and_offset). All of it
 * are constants but the number of sectors that the volume provides.
 */

/** Bytes. Offsets and lengths of the disk are in sectors. */
export const SECTOR = 512;

/** Of dm-integrity and dm-crypt, and of ext4's blocks: bytes. */
export const BLOCK = 4096;
export const BLOCK_SECTORS = BLOCK / SECTOR;

/** HMAC-SHA256: bytes. */
export const TAG = 32;

export const SUPERBLOCK_SECTORS = 8;

/** 16 MiB, as cryptsetup gives a disk of 2 GiB. The kernel has all of it in memory. */
export const JOURNAL_SECTIONS = 124;

/** struct journal_entry: the sector, the last 8 bytes of each sector of the block, the tag. */
export const ENTRY = roundUp(8 + 8 * BLOCK_SECTORS + TAG, 8);
/** A section begins with so many sectors of entries; the last 8 bytes of every sector are its commit id. */
export const ENTRY_SECTORS = 8;
export const ENTRIES_PER_SECTOR = Math.floor((SECTOR - 8) / ENTRY);
export const SECTION_ENTRIES = ENTRIES_PER_SECTOR * ENTRY_SECTORS;
export const SECTION_SECTORS = SECTION_ENTRIES * BLOCK_SECTORS + ENTRY_SECTORS;
export const JOURNAL_SECTORS = JOURNAL_SECTIONS * SECTION_SECTORS;

/** Superblock and journal. The tag of block 0 follows, and METADATA_RUN behind it block 0. */
export const INITIAL_SECTORS = SUPERBLOCK_SECTORS + JOURNAL_SECTORS;

/** Data sectors of an area. */
export const LOG2_INTERLEAVE_SECTORS = 15;
const INTERLEAVE_SECTORS = 2 ** LOG2_INTERLEAVE_SECTORS;
/** Tags of an area, with SB_FLAG_FIXED_PADDING. */
export const METADATA_RUN = roundUp((TAG * INTERLEAVE_SECTORS) / BLOCK_SECTORS, BLOCK) / SECTOR;

export const FIRST_DATA_SECTOR = INITIAL_SECTORS + METADATA_RUN;

/** Sectors: less leaves little beside the journal; for more, the kernel would choose another granularity of its bitmap. */
export const LEAST_DISK = (32 * 2 ** 20) / SECTOR;
export const MOST_DISK = 2 ** 50 / SECTOR;

/**
 * How many sectors of the disk a volume takes that provides so many.
 *
 * @param provided sectors, a multiple of 8, at least 8
 */
export function takenSectors(provided: number): number {
  const last = provided - 1;
  const area = Math.floor(last / INTERLEAVE_SECTORS);
  return INITIAL_SECTORS + area * (INTERLEAVE_SECTORS + METADATA_RUN) + METADATA_RUN + (last % INTERLEAVE_SECTORS) + 1;
}

/**
 * The most sectors that a volume on a disk of this size can provide, in whole blocks.
 *
 * @param disk sectors
 * @throws VolumeError volume_unsuitable
 */
export function providedSectors(disk: number): number {
  if (!Number.isInteger(disk) || disk < LEAST_DISK || disk > MOST_DISK) {
    throw new VolumeError("volume_unsuitable", "no disk of this size can be a volume", {
      got: `${disk * SECTOR} bytes`,
      want: `${LEAST_DISK * SECTOR} to ${MOST_DISK * SECTOR} bytes`,
      hint: "ask for another size in the PersistentVolumeClaim",
    });
  }
  // As the kernel looks for it: bit by bit.
  let provided = 0;
  for (let bit = 2 ** Math.floor(Math.log2(disk)); bit >= BLOCK_SECTORS; bit /= 2) {
    if (takenSectors(provided + bit) <= disk) provided += bit;
  }
  return provided;
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
