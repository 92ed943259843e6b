import { GuestImageError } from "../error.ts";

/** The structures of EROFS that are read and written here (Linux, fs/erofs/erofs_fs.h); all little-endian. */

export const BLOCK = 4096;
export const SUPERBLOCK = 1024;
const MAGIC = 0xe0f5e1e2;
const HAS_CHECKSUM = 1;

/** Padding, configurations and big clusters of compression, chunks, a second algorithm, tails, fragments, xattr prefixes. */
const KNOWN_INCOMPATIBLE = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40;
const AT = {
  magic: 0,
  checksum: 4,
  compatible: 8,
  blockBits: 12,
  root: 14,
  inodes: 16,
  buildTime: 24,
  blocks: 36,
  metadata: 40,
  incompatible: 80,
  devices: 86,
  folderBits: 90,
};

/** A slot of inodes; an inode's number counts them from the start of the metadata. */
const SLOT = 32;
const ENTRY = 12;
export const FOLDER = 2;
export const FILE = 1;
const FLAT = 0;
const FLAT_WITH_TAIL = 2;
const TYPE_OF_MODE = 0o170_000;
const FOLDER_MODE = 0o040_000;

export interface Superblock {
  readonly rootInode: number;
  /** Block where the metadata begin. */
  readonly metadata: number;
  readonly blocks: number;
}

export function isErofs(start: Buffer): boolean {
  return start.length >= SUPERBLOCK + 128 && start.readUInt32LE(SUPERBLOCK + AT.magic) === MAGIC;
}

/** Bytes that the file system says it has. */
export function erofsSize(start: Buffer): number {
  return start.readUInt32LE(SUPERBLOCK + AT.blocks) * BLOCK;
}

/** @param first the first block. @throws GuestImageError filesystem_unknown, filesystem_damaged */
export function readSuperblock(first: Buffer): Superblock {
  const at = first.subarray(SUPERBLOCK);
  const incompatible = at.readUInt32LE(AT.incompatible);
  if (at.readUInt8(AT.blockBits) !== 12 || at.readUInt8(AT.folderBits) !== 0) throw unknown("blocks of another size");
  // Its eighth bit is for a table of more devices.
  if ((incompatible & ~KNOWN_INCOMPATIBLE) !== 0 || at.readUInt16LE(AT.devices) !== 0) {
    throw unknown(`features 0x${incompatible.toString(16)}`);
  }
  if ((at.readUInt32LE(AT.compatible) & HAS_CHECKSUM) !== 0 && at.readUInt32LE(AT.checksum) !== checksumOf(first)) {
    throw damaged("a superblock with another checksum");
  }
  return {
    rootInode: at.readUInt16LE(AT.root),
    metadata: at.readUInt32LE(AT.metadata),
    blocks: at.readUInt32LE(AT.blocks),
  };
}

/** The first block of the image when there are `blocks` blocks and `added` more inodes. */
export function growSuperblock(first: Buffer, blocks: number, added: number): Buffer {
  const grown = Buffer.from(first);
  const at = grown.subarray(SUPERBLOCK);
  at.writeUInt32LE(blocks, AT.blocks);
  at.writeBigUInt64LE(at.readBigUInt64LE(AT.inodes) + BigInt(added), AT.inodes);
  if ((at.readUInt32LE(AT.compatible) & HAS_CHECKSUM) !== 0) at.writeUInt32LE(checksumOf(grown), AT.checksum);
  return grown;
}

/** Where an inode stands, in bytes. */
export function inodeOffset({ metadata }: Superblock, number: number): number {
  return metadata * BLOCK + number * SLOT;
}

/** The number of the inode at a place that is a multiple of 32 bytes. */
export function inodeAt({ metadata }: Superblock, offset: number): number {
  return (offset - metadata * BLOCK) / SLOT;
}

/** The inode of a folder, of either form: compact (32 bytes) or extended (64 bytes). */
export class FolderInode {
  readonly bytes: Buffer;

  /** @param bytes 64, of which a compact one uses 32. @throws GuestImageError filesystem_unknown, filesystem_damaged */
  constructor(bytes: Buffer, path: string) {
    this.bytes = bytes;
    if (bytes.length < 2 * SLOT) throw damaged(`no inode of ${path}`);
    if ((bytes.readUInt16LE(4) & TYPE_OF_MODE) !== FOLDER_MODE) throw unknown(`${path} that is no folder`);
    if (this.#layout !== FLAT && this.#layout !== FLAT_WITH_TAIL) throw unknown(`${path} in a form that is not flat`);
  }

  get size(): number {
    return this.#isExtended ? Number(this.bytes.readBigUInt64LE(8)) : this.bytes.readUInt32LE(8);
  }

  /** The block of its contents, but for the tail if that stands behind the inode. */
  get block(): number {
    return this.bytes.readUInt32LE(16);
  }

  /** Bytes of the contents that stand behind the inode. */
  get tail(): number {
    return this.#layout === FLAT_WITH_TAIL ? this.size % BLOCK : 0;
  }

  /** Bytes from the start of the inode to the tail: itself, and its extended attributes. */
  get head(): number {
    const attributes = this.bytes.readUInt16LE(2);
    return (this.#isExtended ? 2 * SLOT : SLOT) + (attributes === 0 ? 0 : 12 + 4 * (attributes - 1));
  }

  /** The same folder with its contents in whole blocks elsewhere. */
  moved(block: number, size: number, addedFolders: number): Buffer {
    const bytes = Buffer.from(this.bytes.subarray(0, this.#isExtended ? 2 * SLOT : SLOT));
    bytes.writeUInt16LE(bytes.readUInt16LE(0) & 1, 0);
    bytes.writeUInt32LE(size, 8);
    bytes.writeUInt32LE(block, 16);
    if (this.#isExtended) bytes.writeUInt32LE(bytes.readUInt32LE(44) + addedFolders, 44);
    else bytes.writeUInt16LE(bytes.readUInt16LE(6) + addedFolders, 6);
    return bytes;
  }

  get #isExtended(): boolean {
    return (this.bytes.readUInt16LE(0) & 1) !== 0;
  }

  get #layout(): number {
    return (this.bytes.readUInt16LE(0) >> 1) & 7;
  }
}

/** A compact inode of root's, whose time is that of the image. @param number for programs that ask for it */
export function makeInode(mode: number, size: number, block: number, links: number, number: number): Buffer {
  const bytes = Buffer.alloc(SLOT);
  bytes.writeUInt16LE(mode, 4);
  bytes.writeUInt16LE(links, 6);
  bytes.writeUInt32LE(size, 8);
  bytes.writeUInt32LE(block, 16);
  bytes.writeUInt32LE(number, 20);
  return bytes;
}

export interface FolderEntry {
  readonly name: Buffer;
  readonly inode: bigint;
  readonly type: number;
}

/** @throws GuestImageError filesystem_damaged */
export function readEntries(contents: Buffer, path: string): FolderEntry[] {
  const entries: FolderEntry[] = [];
  for (let start = 0; start < contents.length; start += BLOCK) {
    const block = contents.subarray(start, start + BLOCK);
    const names = block.length < ENTRY ? 0 : block.readUInt16LE(8);
    if (names < ENTRY || names % ENTRY !== 0 || names > block.length) throw damaged(`entries of ${path}`);
    for (let at = 0; at < names; at += ENTRY) {
      const from = block.readUInt16LE(at + 8);
      const to = at + ENTRY < names ? block.readUInt16LE(at + ENTRY + 8) : block.length;
      if (from < names || to < from || to > block.length) throw damaged(`names in ${path}`);
      const name = block.subarray(from, to);
      const end = name.indexOf(0);
      const { inode, type } = { inode: block.readBigUInt64LE(at), type: block.readUInt8(at + 10) };
      entries.push({ name: end === -1 ? name : name.subarray(0, end), inode, type });
    }
  }
  return entries;
}

/** The contents of a folder, sorted as the kernel searches in them. The last block ends with its last name. */
export function writeEntries(entries: readonly FolderEntry[]): Buffer {
  const sorted = [...entries].sort((one, two) => Buffer.compare(one.name, two.name));
  const blocks: FolderEntry[][] = [[]];
  let used = 0;
  for (const entry of sorted) {
    const length = ENTRY + entry.name.length;
    if (used + length > BLOCK) {
      blocks.push([]);
      used = 0;
    }
    blocks.at(-1)?.push(entry);
    used += length;
  }
  const written = blocks.map((block, index) => {
    const bytes = Buffer.alloc(BLOCK);
    let end = block.length * ENTRY;
    for (const [at, { name, inode, type }] of block.entries()) {
      bytes.writeBigUInt64LE(inode, at * ENTRY);
      bytes.writeUInt16LE(end, at * ENTRY + 8);
      bytes.writeUInt8(type, at * ENTRY + 10);
      end += name.copy(bytes, end);
    }
    return index === blocks.length - 1 ? bytes.subarray(0, end) : bytes;
  });
  return Buffer.concat(written);
}

/** CRC-32C of the superblock up to the end of its block, without the final inversion. */
function checksumOf(first: Buffer): number {
  const bytes = Buffer.from(first.subarray(SUPERBLOCK, BLOCK));
  bytes.writeUInt32LE(0, AT.checksum);
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : 0x82f63b78);
  }
  return crc >>> 0;
}

function unknown(got: string): GuestImageError {
  return new GuestImageError("filesystem_unknown", "this form of erofs can't be edited here", {
    got,
    want: "blocks of 4096 bytes and the features of Linux 6.1",
  });
}

export function damaged(got: string, cause?: unknown): GuestImageError {
  return new GuestImageError("filesystem_damaged", "the root file system is damaged", {
    got,
    want: "erofs that fsck.erofs finds nothing wrong with",
    hint: "download the image again",
    cause,
  });
}
