import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { BLOCK_SECTORS, JOURNAL_SECTIONS, LOG2_INTERLEAVE_SECTORS, providedSectors, SECTOR, TAG } from "./layout.ts";
import { SUPERBLOCK_SECTORS } from "./layout.ts";

/**
 * The superblock of dm-integrity (Linux, drivers/md/dm-integrity.c: struct superblock), 4096 bytes. All of ours are equal but
 * for the size. The kernel never reads the one of the disk: it gets one that was made here. The one of the disk only marks
 * that formatting came to its end, and it has to be exactly what this program writes.
 */

export const SUPERBLOCK_BYTES = SUPERBLOCK_SECTORS * SECTOR;

const MAGIC = Buffer.from("integrt\0", "latin1");
/** SB_VERSION_4: the version that has SB_FLAG_FIXED_PADDING. */
const VERSION = 4;
/** SB_FLAG_FIXED_PADDING alone: no MAC of the journal, no recalculation, no bitmap. */
const FLAGS = 8;
/** DEFAULT_SECTORS_PER_BITMAP_BIT in blocks. Only the mode with a bitmap uses it. */
const LOG2_BLOCKS_PER_BITMAP_BIT = 15 - 3;

/** @param provided sectors of the volume */
export function makeSuperblock(provided: number): Buffer {
  const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt8(VERSION, 8);
  bytes.writeUInt8(LOG2_INTERLEAVE_SECTORS, 9);
  bytes.writeUInt16LE(TAG, 10);
  bytes.writeUInt32LE(JOURNAL_SECTIONS, 12);
  bytes.writeBigUInt64LE(BigInt(provided), 16);
  bytes.writeUInt32LE(FLAGS, 24);
  bytes.writeUInt8(Math.log2(BLOCK_SECTORS), 28);
  bytes.writeUInt8(LOG2_BLOCKS_PER_BITMAP_BIT, 29);
  return bytes;
}

/**
 * Whether these are the bytes of `makeSuperblock` for this disk, or for a smaller one: a disk may grow, and the volume on it
 * stays what it is.
 *
 * @param bytes the first 4096 of the disk
 * @param disk its sectors
 * @returns how many sectors the volume provides
 * @throws MalformedBytes with the first field that is not as it has to be; VolumeError volume_unsuitable
 */
export function readSuperblock(bytes: Uint8Array, disk: number): number {
  const cursor = new Cursor(bytes);
  const fixed = (field: string, want: number | bigint, read: (field: string) => number | bigint): void => {
    const offset = cursor.offset;
    const got = read(field);
    if (got !== want) throw new MalformedBytes(field, offset, String(got), String(want));
  };
  const u8 = (field: string): number => cursor.u8(field);
  const magic = cursor.bytes(MAGIC.length, "magic");
  if (!isEqual(magic, MAGIC)) throw new MalformedBytes("magic", 0, toHex(magic), toHex(MAGIC));
  fixed("version", VERSION, u8);
  fixed("log2_interleave_sectors", LOG2_INTERLEAVE_SECTORS, u8);
  fixed("integrity_tag_size", TAG, (field) => cursor.u16le(field));
  fixed("journal_sections", JOURNAL_SECTIONS, (field) => cursor.u32le(field));
  const provided = readProvided(cursor, disk);
  fixed("flags", FLAGS, (field) => cursor.u32le(field));
  fixed("log2_sectors_per_block", Math.log2(BLOCK_SECTORS), u8);
  fixed("log2_blocks_per_bitmap_bit", LOG2_BLOCKS_PER_BITMAP_BIT, u8);
  cursor.zeros(2, "pad");
  fixed("recalc_sector", 0n, (field) => cursor.u64le(field));
  cursor.zeros(8, "pad2");
  cursor.zeros(16, "salt");
  cursor.zeros(SUPERBLOCK_BYTES - cursor.offset, "behind the superblock");
  cursor.end("behind the superblock's sectors");
  return provided;
}

function readProvided(cursor: Cursor, disk: number): number {
  const most = providedSectors(disk);
  const offset = cursor.offset;
  const provided = cursor.u64le("provided_data_sectors");
  if (provided === 0n || provided > BigInt(most) || provided % BigInt(BLOCK_SECTORS) !== 0n) {
    const want = `${most}, or a smaller multiple of ${BLOCK_SECTORS}`;
    throw new MalformedBytes("provided_data_sectors", offset, String(provided), want);
  }
  return Number(provided);
}
