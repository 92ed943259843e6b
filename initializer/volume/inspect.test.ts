import { expect, test } from "vitest";
import { Secret } from "../../runtime/secret.ts";
import { inspect } from "./inspect.ts";
import { ENTRY, FIRST_DATA_SECTOR, INITIAL_SECTORS, providedSectors, SECTION_SECTORS, SECTOR } from "./layout.ts";
import { makeSuperblock } from "./superblock.ts";
import { DISK, emptyDisk, ext4Block, readerOf, sealBlockZero, volumeDisk } from "./test-disk.ts";
import { deriveVolumeKey } from "./volume-key.ts";

const key = (byte: number, name = "data", version?: number) =>
  deriveVolumeKey(new Secret(Buffer.alloc(32, byte)), name, version);
const own = key(7);
const look = (disk: Buffer, keys = [own]) => inspect(readerOf(disk), DISK, keys);

test("a volume under the key", async () => {
  expect(await look(volumeDisk(own))).toEqual({ kind: "volume", key: own, provided: providedSectors(DISK) });
});

test("a volume under the key of before a rekey", async () => {
  const keys = [key(9, "data", 2), key(7, "data", 1)];
  expect(await look(volumeDisk(own), keys)).toMatchObject({ kind: "volume", key: { version: 1 } });
});

test("a volume whose first block is in the journal alone", async () => {
  const disk = volumeDisk(own);
  const { ciphertext, tag } = sealBlockZero(ext4Block(), own);
  disk.fill(0xff, FIRST_DATA_SECTOR * SECTOR, (FIRST_DATA_SECTOR + 8) * SECTOR);
  // Of the third section, the eleventh entry: the second of its fourth sector.
  const section = (8 + 2 * SECTION_SECTORS) * SECTOR;
  for (let entry = 0; entry < 32; entry++) {
    disk.writeBigUInt64LE(0xffff_ffff_0000_0000n, section + (entry % 8) * SECTOR + Math.floor(entry / 8) * ENTRY);
  }
  const at = section + 3 * SECTOR + ENTRY;
  const data = section + (8 + 11 * 8) * SECTOR;
  disk.writeBigUInt64LE(0n, at);
  ciphertext.copy(disk, data);
  for (let sector = 0; sector < 8; sector++) {
    ciphertext.copy(disk, at + 8 + 8 * sector, (sector + 1) * SECTOR - 8, (sector + 1) * SECTOR);
    disk.writeBigUInt64LE(0x1111_1111_1111_1111n, data + (sector + 1) * SECTOR - 8);
  }
  tag.copy(disk, at + 8 + 64);
  expect(await look(disk)).toMatchObject({ kind: "volume" });
  disk.writeUInt8((disk[at + 8] ?? 0) ^ 1, at + 8);
  expect(await look(disk)).toMatchObject({ kind: "unreadable", where: "block 0" });
});

test("an empty disk, and one that was wiped", async () => {
  expect(await look(emptyDisk())).toEqual({ kind: "empty" });
  expect(await look(volumeDisk(own).fill(0))).toEqual({ kind: "empty" });
});

test.each<[what: string, change: (disk: Buffer) => void, where: string, got: string]>([
  ["the superblock alone", (disk) => disk.fill(0, SECTOR * 8), "block 0", "a tag that no key of this workload makes"],
  [
    "all but the superblock",
    (disk) => disk.fill(0, 0, SECTOR * 8),
    "superblock of dm-integrity, magic",
    "zeros, and other data behind them: a format that did not come to its end, or an overwritten superblock",
  ],
  ["a changed superblock", (disk) => disk.writeUInt32LE(10, 24), "superblock of dm-integrity, flags", "10"],
  [
    "a changed first block",
    (disk) => disk.writeUInt8(1, FIRST_DATA_SECTOR * SECTOR + 4000),
    "block 0",
    "a tag that no key of this workload makes",
  ],
  [
    "a changed first tag",
    (disk) => disk.writeUInt8((disk[INITIAL_SECTORS * SECTOR] ?? 0) ^ 1, INITIAL_SECTORS * SECTOR),
    "block 0",
    "a tag that no key of this workload makes",
  ],
  [
    "a LUKS header",
    (disk) => disk.fill(0).write("LUKS\xba\xbe", "latin1"),
    "superblock of dm-integrity, magic",
    "a LUKS header",
  ],
  [
    "an ext4",
    (disk) => ext4Block().copy(disk.fill(0)),
    "superblock of dm-integrity, magic",
    "an ext4 that is not encrypted",
  ],
])("what is left or put there is named: %s", async (_, change, where, got) => {
  const disk = volumeDisk(own);
  change(disk);
  expect(await look(disk)).toMatchObject({ kind: "unreadable", where, got });
});

test.each([
  ["of another workload", key(8)],
  ["of another name", key(7, "other")],
])("a volume %s is unreadable", async (_, other) => {
  expect(await look(volumeDisk(other))).toMatchObject({
    kind: "unreadable",
    got: "a tag that no key of this workload makes",
  });
});

test("the key opens it, and there is no ext4", async () => {
  const disk = volumeDisk(own, Buffer.alloc(4096));
  expect(await look(disk)).toMatchObject({ kind: "unreadable", got: "authentic data that is no ext4" });
});

test("a disk that can't be read is not an empty one", async () => {
  const broken = async (): Promise<Buffer> => {
    throw Object.assign(new Error("EIO"), { code: "EIO" });
  };
  await expect(inspect(broken, DISK, [own])).rejects.toMatchObject({ code: "EIO" });
});

test("a superblock of a larger disk is refused", async () => {
  const disk = volumeDisk(own);
  makeSuperblock(providedSectors(2 * DISK)).copy(disk);
  expect(await look(disk)).toMatchObject({ where: "superblock of dm-integrity, provided_data_sectors" });
});
