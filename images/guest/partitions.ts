import { crc32 } from "node:zlib";
import { GuestImageError } from "./error.ts";

/**
 * Partition tables: the MBR that Kata's image builder writes (kata-containers,
 * tools/osbuilder/image-builder/image_builder.sh, create_disk), and GPT (UEFI 2.10, section 5.3).
 */

const SECTOR = 512;
const MEBIBYTE = 1024 * 1024;

const MBR_ENTRIES = 446;
const MBR_SIGNATURE = 0xaa55;
const LINUX = 0x83;
const PROTECTIVE = 0xee;
const EXTENDED: ReadonlySet<number> = new Set([0x05, 0x0f, 0x85]);

const GPT_SIGNATURE = "EFI PART";
const GPT_HEADER = 92;
/** More than any table has: 128 entries of 128 bytes are usual. */
const LARGEST_TABLE = MEBIBYTE;

/** Bytes from the start of the image. */
export interface Partition {
  readonly start: number;
  readonly length: number;
}

export interface Image {
  readonly size: number;
  /** Short where the image ends. */
  read(start: number, length: number): Promise<Buffer>;
}

/** What begins so is something else, which people may take for an image. */
const OTHERS: readonly (readonly [string, string])[] = [
  ["1f8b", "gzip: an initrd, or an image that is compressed"],
  ["28b52ffd", "zstd: an initrd, or an image that is compressed"],
  ["fd377a585a00", "xz: an image that is compressed"],
  ["303730373031", "a cpio archive: an initrd"],
  ["514649fb", "a qcow2 image"],
];

/**
 * The partition of the root file system, and that of its hash tree.
 *
 * @throws GuestImageError image_cut, image_unknown, partitions_unknown
 */
export async function readPartitions(image: Image): Promise<readonly [Partition, Partition]> {
  const mbr = await image.read(0, SECTOR);
  const other = OTHERS.find(([magic]) => mbr.toString("hex").startsWith(magic));
  if (other !== undefined || mbr.length < SECTOR || mbr.readUInt16LE(510) !== MBR_SIGNATURE) {
    throw new GuestImageError("image_unknown", "this is no disk image", {
      got: other?.[1] ?? "no partition table",
      want: "an image with an MBR or a GPT",
      hint: "take kata-containers-confidential.img of kata-deploy or of a release of Kata",
    });
  }
  const entries = Array.from({ length: 4 }, (_, index) => mbr.subarray(MBR_ENTRIES + 16 * index).subarray(0, 16));
  const isGpt = entries.some((entry) => entry[4] === PROTECTIVE);
  const partitions = isGpt ? await readGpt(image) : readMbr(entries);
  const [root, hash, ...others] = [...partitions].sort((one, two) => one.start - two.start);
  if (root === undefined || hash === undefined || others.length > 0) {
    throw unknownPartitions(`${partitions.length} partitions`);
  }
  for (const { start, length } of [root, hash]) {
    if (start + length > image.size) throw cut(`${image.size} bytes`, `${start + length} bytes`);
  }
  if (root.start + root.length > hash.start) throw unknownPartitions("partitions that overlap");
  return [root, hash];
}

/**
 * Sector 0 of a disk with these two, as `parted mklabel msdos` makes it for Kata's builder, with no code and no
 * signature of the disk.
 */
export function makeMbr(root: Partition, hash: Partition): Buffer {
  const mbr = Buffer.alloc(SECTOR);
  for (const [index, { start, length }] of [root, hash].entries()) {
    const at = MBR_ENTRIES + 16 * index;
    // The values for addresses beyond cylinder 1023: only the sector numbers count.
    mbr.set([index === 0 ? 0x80 : 0, 0xfe, 0xff, 0xff, LINUX, 0xfe, 0xff, 0xff], at);
    mbr.writeUInt32LE(start / SECTOR, at + 8);
    mbr.writeUInt32LE(length / SECTOR, at + 12);
  }
  mbr.writeUInt16LE(MBR_SIGNATURE, 510);
  return mbr;
}

/** Where the two partitions of a new image begin and end: each at a whole mebibyte, the first behind one of them. */
export function layOut(rootLength: number, hashLength: number): readonly [Partition, Partition] {
  const whole = (length: number): number => Math.ceil(length / MEBIBYTE) * MEBIBYTE;
  const root = { start: MEBIBYTE, length: whole(rootLength) };
  return [root, { start: root.start + root.length, length: whole(hashLength) }];
}

function readMbr(entries: readonly Buffer[]): Partition[] {
  return entries.flatMap((entry) => {
    const type = entry.readUInt8(4);
    if (type === 0) return [];
    if (EXTENDED.has(type)) throw unknownPartitions("an extended partition");
    return { start: entry.readUInt32LE(8) * SECTOR, length: entry.readUInt32LE(12) * SECTOR };
  });
}

async function readGpt(image: Image): Promise<Partition[]> {
  const header = await image.read(SECTOR, GPT_HEADER);
  if (header.length < GPT_HEADER) throw cut(`${image.size} bytes`, "a header of the GPT");
  const checksum = header.readUInt32LE(16);
  header.writeUInt32LE(0, 16);
  const isHeader = header.toString("latin1", 0, 8) === GPT_SIGNATURE && header.readUInt32LE(12) === GPT_HEADER;
  if (!isHeader || crc32(header) !== checksum) throw unknownPartitions("a GPT whose header is damaged");
  const end = (sector(header, 32) + 1) * SECTOR;
  if (end > image.size) throw cut(`${image.size} bytes`, `${end} bytes`);
  const [count, size] = [header.readUInt32LE(80), header.readUInt32LE(84)];
  if (size < 128 || count * size > LARGEST_TABLE) throw unknownPartitions("a GPT of a size that is not known");
  const table = await image.read(sector(header, 72) * SECTOR, count * size);
  if (crc32(table) !== header.readUInt32LE(88)) throw unknownPartitions("a GPT whose table is damaged");
  return Array.from({ length: count }, (_, index) => table.subarray(index * size, (index + 1) * size))
    .filter((entry) => entry.subarray(0, 16).some((byte) => byte !== 0))
    .map((entry) => {
      const start = sector(entry, 32);
      return { start: start * SECTOR, length: (sector(entry, 40) + 1 - start) * SECTOR };
    });
}

/** A number of a sector: 64 bits, of which no image needs more than 53. */
function sector(bytes: Buffer, offset: number): number {
  const number = bytes.readBigUInt64LE(offset);
  if (number > Number.MAX_SAFE_INTEGER / SECTOR) throw unknownPartitions("a GPT with sectors beyond all disks");
  return Number(number);
}

function cut(got: string, want: string): GuestImageError {
  return new GuestImageError("image_cut", "the image ends too early", { got, want, hint: "download it again" });
}

function unknownPartitions(got: string): GuestImageError {
  return new GuestImageError("partitions_unknown", "these are not the partitions of a measured image of Kata", {
    got,
    want: "the root file system, and its hash tree behind it",
    hint: "take kata-containers-confidential.img, which Kata builds with MEASURED_ROOTFS=yes",
  });
}
