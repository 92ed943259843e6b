import { createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";
import {
  BLOCK,
  BLOCK_SECTORS,
  ENTRY,
  ENTRY_SECTORS,
  FIRST_DATA_SECTOR,
  INITIAL_SECTORS,
  JOURNAL_SECTIONS,
  SECTION_ENTRIES,
  SECTION_SECTORS,
  SECTOR,
  SUPERBLOCK_SECTORS,
  TAG,
} from "./layout.ts";
import { CIPHER_KEY, type VolumeKey } from "./volume-key.ts";

/**
 * The first block of a volume, read without the kernel: whether the disk holds a volume under a key is known before anything
 * of the disk is given to the kernel, and before anything is written.
 */
export interface StoredBlock {
  /** 4096 bytes of ciphertext. */
  readonly ciphertext: Buffer;
  /** 32 bytes. */
  readonly tag: Buffer;
}

/** Reads of the disk. @param sector and count, of 512 bytes */
export type ReadSectors = (sector: number, count: number) => Promise<Buffer>;

/**
 * What the disk has as block 0: at its place, and in the journal, from where the kernel may not have copied it yet. Nothing
 * of it is trusted: it is only worth what its tag is worth.
 */
export async function* storedBlocksZero(read: ReadSectors): AsyncGenerator<StoredBlock> {
  const tags = await read(INITIAL_SECTORS, 1);
  yield { ciphertext: await read(FIRST_DATA_SECTOR, BLOCK_SECTORS), tag: tags.subarray(0, TAG) };
  for (let section = 0; section < JOURNAL_SECTIONS; section++) {
    yield* inSection(await read(SUPERBLOCK_SECTORS + section * SECTION_SECTORS, SECTION_SECTORS));
  }
}

/** struct journal_entry: its sector, then the last 8 bytes of each sector of the block, in whose place the commit id is. */
function* inSection(section: Buffer): Generator<StoredBlock> {
  for (let entry = 0; entry < SECTION_ENTRIES; entry++) {
    const at = (entry % ENTRY_SECTORS) * SECTOR + Math.floor(entry / ENTRY_SECTORS) * ENTRY;
    if (section.readBigUInt64LE(at) !== 0n) continue;
    const start = (ENTRY_SECTORS + entry * BLOCK_SECTORS) * SECTOR;
    const ciphertext = Buffer.from(section.subarray(start, start + BLOCK));
    for (let index = 0; index < BLOCK_SECTORS; index++) {
      section.copy(ciphertext, (index + 1) * SECTOR - 8, at + 8 + index * 8, at + 16 + index * 8);
    }
    const tagAt = at + 8 + 8 * BLOCK_SECTORS;
    yield { ciphertext, tag: section.subarray(tagAt, tagAt + TAG) };
  }
}

/**
 * The plaintext of block 0, as dm-crypt has it: authenc(hmac(sha256),xts(aes)), encrypted, then authenticated together with
 * its sector and its initialisation vector, which are both 0 (Linux, drivers/md/dm-crypt.c: crypt_convert_block_aead).
 *
 * @returns undefined where it is not authentic under this key
 */
export function openBlockZero({ ciphertext, tag }: StoredBlock, { bytes }: VolumeKey): Buffer | undefined {
  const key = bytes.reveal();
  const iv = Buffer.alloc(16);
  const mac = createHmac("sha256", key.subarray(CIPHER_KEY)).update(Buffer.alloc(8)).update(iv).update(ciphertext);
  if (!timingSafeEqual(mac.digest(), tag)) return undefined;
  const cipher = createDecipheriv("aes-256-xts", key.subarray(0, CIPHER_KEY), iv);
  return Buffer.concat([cipher.update(ciphertext), cipher.final()]);
}

/** Whether a plaintext block 0 is the one of an ext4: its superblock begins at 1024, its magic number is 56 bytes behind. */
export function isExt4(block: Buffer): boolean {
  return block.readUInt16LE(1024 + 56) === 0xef53;
}
