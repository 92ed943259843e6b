import { expect, test } from "vitest";
import { LEAST_DISK, MOST_DISK, providedSectors, SECTOR, takenSectors } from "./layout.ts";
import { makeSuperblock, readSuperblock } from "./superblock.ts";

const GIB = 2 ** 30 / SECTOR;
const provided = providedSectors(GIB);

test("what is made is accepted, and says how much the volume provides", () => {
  expect(readSuperblock(makeSuperblock(provided), GIB)).toBe(provided);
});

test("a volume takes no more than its disk, and the next block would", () => {
  for (const disk of [LEAST_DISK, LEAST_DISK + 8, GIB - 1, GIB, GIB + 8, 3 * GIB + 4096, 1000 * GIB, MOST_DISK]) {
    const sectors = providedSectors(disk);
    expect(sectors % 8).toBe(0);
    expect(takenSectors(sectors)).toBeLessThanOrEqual(disk);
    expect(takenSectors(sectors + 8)).toBeGreaterThan(disk);
    // The kernel is given as much as is taken, and makes the same of it.
    expect(providedSectors(Math.max(takenSectors(sectors), LEAST_DISK))).toBe(sectors);
  }
});

test.each([0, LEAST_DISK - 1, MOST_DISK + 1, Number.NaN])("a disk of %s sectors can't be a volume", (disk) => {
  expect(() => providedSectors(disk)).toThrow(expect.objectContaining({ code: "volume_unsuitable" }));
});

test("a disk that grew has the volume that it had", () => {
  expect(readSuperblock(makeSuperblock(provided), 2 * GIB)).toBe(provided);
});

const u8 = (offset: number, value: number) => (bytes: Buffer) => bytes.writeUInt8(value, offset);
const u64 = (offset: number, value: bigint) => (bytes: Buffer) => bytes.writeBigUInt64LE(value, offset);

test.each<[what: string, field: string, change: (bytes: Buffer) => unknown]>([
  ["another magic", "magic", u8(0, 0x49)],
  ["a magic that is not ended", "magic", u8(7, 1)],
  ["version 0", "version", u8(8, 0)],
  ["an earlier version", "version", u8(8, 3)],
  ["the version with HMAC fixes", "version", u8(8, 5)],
  ["version 255", "version", u8(8, 255)],
  ["no interleaving", "log2_interleave_sectors", u8(9, 0)],
  ["a shift beyond 64 bits", "log2_interleave_sectors", u8(9, 255)],
  ["tags of no length", "integrity_tag_size", (bytes) => bytes.writeUInt16LE(0, 10)],
  ["shorter tags", "integrity_tag_size", (bytes) => bytes.writeUInt16LE(4, 10)],
  ["longer tags", "integrity_tag_size", (bytes) => bytes.writeUInt16LE(0xffff, 10)],
  ["no journal", "journal_sections", (bytes) => bytes.writeUInt32LE(0, 12)],
  ["a journal beyond the disk", "journal_sections", (bytes) => bytes.writeUInt32LE(0xffff_ffff, 12)],
  ["nothing provided", "provided_data_sectors", u64(16, 0n)],
  ["a block more than there is", "provided_data_sectors", u64(16, BigInt(provided + 8))],
  ["parts of blocks", "provided_data_sectors", u64(16, BigInt(provided - 1))],
  ["as many as there are numbers", "provided_data_sectors", u64(16, 2n ** 64n - 8n)],
  ["no flag", "flags", (bytes) => bytes.writeUInt32LE(0, 24)],
  ["a MAC of the journal", "flags", (bytes) => bytes.writeUInt32LE(8 | 1, 24)],
  ["recalculation of tags", "flags", (bytes) => bytes.writeUInt32LE(8 | 2, 24)],
  ["a dirty bitmap", "flags", (bytes) => bytes.writeUInt32LE(8 | 4, 24)],
  ["fixed HMAC", "flags", (bytes) => bytes.writeUInt32LE(8 | 16, 24)],
  ["an unknown flag", "flags", (bytes) => bytes.writeUInt32LE(0x8000_0008, 24)],
  ["blocks of a sector", "log2_sectors_per_block", u8(28, 0)],
  ["blocks larger than memory", "log2_sectors_per_block", u8(28, 200)],
  ["another granularity of the bitmap", "log2_blocks_per_bitmap_bit", u8(29, 0)],
  ["a byte of padding", "pad", u8(31, 1)],
  ["a place to recalculate from", "recalc_sector", u64(32, 1n)],
  ["a byte of the later padding", "pad2", u8(47, 1)],
  ["a salt", "salt", u8(48, 1)],
  ["the end of a salt", "salt", u8(63, 1)],
  ["something behind it", "behind the superblock", u8(64, 1)],
  ["a MAC of the superblock", "behind the superblock", u8(511, 1)],
  ["something in its last sector", "behind the superblock", u8(4095, 1)],
])("%s is refused", (_, field, change) => {
  const bytes = makeSuperblock(provided);
  change(bytes);
  expect(() => readSuperblock(bytes, GIB)).toThrow(expect.objectContaining({ name: "MalformedBytes", field }));
});

test("every bit counts, but for a smaller volume", () => {
  const good = makeSuperblock(provided);
  for (let bit = 0; bit < 8 * good.length; bit++) {
    const bytes = Buffer.from(good);
    bytes.writeUInt8((bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7)), bit >> 3);
    const sectors = Number(bytes.readBigUInt64LE(16));
    const isSmaller = sectors < provided && sectors > 0 && sectors % 8 === 0;
    if (isSmaller) expect(readSuperblock(bytes, GIB)).toBe(sectors);
    else expect(() => readSuperblock(bytes, GIB)).toThrow(expect.objectContaining({ name: "MalformedBytes" }));
  }
});

test.each([0, 64, 4095, 4097])("%i bytes are refused", (length) => {
  const bytes = Buffer.concat([makeSuperblock(provided), Buffer.alloc(8)]).subarray(0, length);
  expect(() => readSuperblock(bytes, GIB)).toThrow(expect.objectContaining({ name: "MalformedBytes" }));
});
