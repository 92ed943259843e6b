import { createCipheriv, createHmac } from "node:crypto";
import type { ReadSectors, StoredBlock } from "./block-zero.ts";
import { BLOCK, BLOCK_SECTORS, FIRST_DATA_SECTOR, INITIAL_SECTORS, providedSectors, SECTOR } from "./layout.ts";
import { makeSuperblock } from "./superblock.ts";
import { CIPHER_KEY, type VolumeKey } from "./volume-key.ts";

/** For tests: disks as the kernel writes them, as far as `inspect` reads them. */

/** 64 MiB. */
export const DISK = (64 * 2 ** 20) / SECTOR;

const USED = (FIRST_DATA_SECTOR + 4096) * SECTOR;

/** The first block of an ext4, with its magic number alone. */
export function ext4Block(): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.writeUInt16LE(0xef53, 1024 + 56);
  return block;
}

/** As dm-crypt writes block 0. */
export function sealBlockZero(plain: Buffer, { bytes }: VolumeKey): StoredBlock {
  const key = bytes.reveal();
  const cipher = createCipheriv("aes-256-xts", key.subarray(0, CIPHER_KEY), Buffer.alloc(16));
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()]);
  const associated = Buffer.alloc(8 + 16);
  const tag = createHmac("sha256", key.subarray(CIPHER_KEY)).update(associated).update(ciphertext).digest();
  return { ciphertext, tag };
}

/** The beginning of a disk of 64 MiB with a volume. */
export function volumeDisk(key: VolumeKey, plain: Buffer = ext4Block()): Buffer {
  const bytes = Buffer.alloc(USED);
  makeSuperblock(providedSectors(DISK)).copy(bytes);
  const { ciphertext, tag } = sealBlockZero(plain, key);
  tag.copy(bytes, INITIAL_SECTORS * SECTOR);
  ciphertext.copy(bytes, FIRST_DATA_SECTOR * SECTOR);
  return bytes;
}

export function emptyDisk(): Buffer {
  return Buffer.alloc(USED);
}

export function readerOf(bytes: Buffer): ReadSectors {
  return async (sector, count) => Buffer.from(bytes.subarray(sector * SECTOR, (sector + count) * SECTOR));
}

/** Where a sector of the volume and its tag lie, in bytes of the disk. */
export function placeOf(sector: number): { readonly data: number; readonly tag: number } {
  const INTERLEAVE = 32_768;
  const RUN = FIRST_DATA_SECTOR - INITIAL_SECTORS;
  const [area, offset] = [Math.floor(sector / INTERLEAVE), sector % INTERLEAVE];
  const start = INITIAL_SECTORS + area * (INTERLEAVE + RUN);
  return { data: (start + RUN + offset) * SECTOR, tag: start * SECTOR + (offset / BLOCK_SECTORS) * 32 };
}
