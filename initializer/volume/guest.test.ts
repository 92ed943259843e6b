import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { cp, open, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Secret } from "../../runtime/secret.ts";
import { inspect } from "./inspect.ts";
import { INITIAL_SECTORS, SECTOR, SUPERBLOCK_SECTORS } from "./layout.ts";
import { makeLuks2Header } from "./luks2-header.ts";
import { placeOf, readerOf } from "./test-disk.ts";
import { Guest, type GuestImage, lacksForGuests, makeGuestImage } from "./test-guest.ts";
import { deriveVolumeKey } from "./volume-key.ts";

const lacks = lacksForGuests();
const label = (what: string): string => (lacks === undefined ? what : `${what}: ${lacks}`);

const folder = mkdtempSync(join(tmpdir(), "contrast-volume-guest-test-"));
const guests: Guest[] = [];
afterAll(async () => {
  for (const guest of guests) await guest.kill();
  rmSync(folder, { recursive: true });
});

/** Sectors: 192 MiB, so that the ext4 has two groups. */
const DISK = (192 * 2 ** 20) / SECTOR;

const secret = (byte: number): Secret => new Secret(Buffer.alloc(32, byte));
const hex = (byte: number): string => Buffer.alloc(32, byte).toString("hex");
const MARK = "this text is on the volume and not on the disk\n";

/** `start DEVICE [VARIABLE=VALUE ...]` waits until the volume is mounted or the program ended, and prints its log. */
const SCRIPT = `
start() {
  device=$1; shift
  rm -f /run/code
  (env CONTRAST_VOLUME_NAME=data CONTRAST_VOLUME_DEVICE=$device "$@" node /opt/contrast/volume.mjs >/run/log 2>&1; echo $? >/run/code) &
  until [ -e /run/code ] || busybox grep -q /dev/mapper/contrast-volume- /proc/mounts; do busybox sleep 0.1; done
  busybox sleep 0.3
  cat /run/log
  [ ! -e /run/code ] || echo "code $(cat /run/code)"
}
stop() {
  busybox killall node
  until [ -e /run/code ]; do busybox sleep 0.1; done
  cat /run/log
  echo "code $(cat /run/code)"
  ls /dev/mapper
}
`;

let image: GuestImage;

async function boot(...disks: readonly string[]): Promise<Guest> {
  const guest = await Guest.start({ ...image, disks, folder });
  guests.push(guest);
  await guest.sh(". /lib.sh");
  return guest;
}

function emptyDisk(name: string): string {
  const file = join(folder, name);
  writeFileSync(file, "");
  truncateSync(file, DISK * SECTOR);
  return file;
}

async function digest(file: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
}

async function overwrite(file: string, offset: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, "r+");
  await handle.write(bytes, 0, bytes.length, offset);
  await handle.close();
}

/** Of the first block of a file of the volume, in sectors of the volume. */
async function firstSector(guest: Guest, file: string): Promise<number> {
  const { text } = await guest.sh(`filefrag -e -b4096 ${file}`);
  const [, block] = /^\s*0:\s+0\.\.\s*\d+:\s+(\d+)\.\./m.exec(text) ?? [];
  expect(block, text).toBeDefined();
  return Number(block) * 8;
}

const keyOf = (name = "data", byte = 7, version?: number) => deriveVolumeKey(secret(byte), name, version);

describe.skipIf(lacks !== undefined)(label("a volume in a guest"), { timeout: 300_000 }, () => {
  const disk = emptyDisk("disk");
  const good = join(folder, "good");
  let kept = "";

  beforeAll(async () => {
    image = await makeGuestImage(folder, {
      "lib.sh": SCRIPT,
      "tls-config/workload-secret-seed": hex(7),
      "rekeyed/workload-secret-seed": hex(9),
      "rekeyed/workload-secret-seed.2": hex(9),
      "rekeyed/workload-secret-seed.1": hex(7),
      "other/workload-secret-seed": hex(8),
      mark: MARK,
    });
  }, 120_000);

  test("an empty disk is refused and untouched; a format that a power cut ends is no volume", async () => {
    const guest = await boot(disk, emptyDisk("scratch"));
    const before = await digest(disk);
    const { text } = await guest.sh("start /dev/vdb CONTRAST_TIMEOUT=1s");
    expect(text).toContain('"code":"volume_not_formatted"');
    expect(text).toContain("code 3");
    expect(await digest(disk)).toBe(before);

    const theirs = await guest.sh(
      "cryptsetup luksFormat -q --type luks2 --cipher aes-xts-plain64 --integrity hmac-sha256 --integrity-no-wipe --key-size 512 --sector-size 4096 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --disable-locks --header /run/own --key-file /mark /dev/vdc && cryptsetup luksDump --dump-json-metadata /run/own",
    );
    const { segments } = JSON.parse(theirs.text.slice(theirs.text.indexOf("{"))) as { segments: unknown };
    const ours = makeLuks2Header(keyOf()).subarray(4096, 16_384);
    expect(JSON.parse(ours.subarray(0, ours.indexOf(0)).toString())).toMatchObject({ segments });

    // While the file system is made: the journal is there, and the superblock is not.
    const formatting = guest.sh("touch /run/grant; start /dev/vdb").catch(() => undefined);
    const file = await open(disk, "r");
    const sector = Buffer.alloc(SECTOR);
    do {
      await delay(20);
      await file.read(sector, 0, SECTOR, (INITIAL_SECTORS - 8) * SECTOR);
    } while (sector.every((byte) => byte === 0));
    await guest.kill();
    await file.close();
    await formatting;
    expect(await inspect(readerOf(await readFile(disk)), DISK, [keyOf()])).toMatchObject({
      kind: "unreadable",
      got: "zeros, and other data behind them: a format that did not come to its end, or an overwritten superblock",
    });
  });

  test("with a leave it is formatted once; what is on it is not readable outside", async () => {
    const guest = await boot(disk);
    const before = await digest(disk);
    const refused = await guest.sh("start /dev/vdb CONTRAST_TIMEOUT=1s");
    expect(refused.text).toContain('"code":"volume_unreadable"');
    expect(await digest(disk)).toBe(before);

    const formatted = await guest.sh("touch /run/grant; start /dev/vdb; ls /run/grant");
    expect(formatted.text).toContain("the volume is formatted and mounted");
    expect(formatted.text).toContain("/run/grant: No such file");
    const health = await guest.sh("node /opt/contrast/initializer.mjs volume-healthcheck");
    expect(health).toEqual({ code: 0, text: "/dev/mapper/contrast-volume-data is mounted at /volume" });
    // The container is killed, and the next one finds what it left mounted.
    const taken = await guest.sh(
      "busybox killall -9 node; until [ -e /run/code ]; do busybox sleep 0.1; done; start /dev/vdb; until busybox grep -q earlier /run/log; do busybox sleep 0.1; done; cat /run/log",
    );
    expect(taken.text).toContain("the volume is mounted: an earlier container of this pod did it");
    const written = await guest.sh(
      'cd /volume; ls -A; busybox yes "$(cat /mark)" | busybox head -n 2000 >marked; busybox cp marked other; busybox dd if=/dev/urandom of=keep bs=64k count=16 2>/dev/null; busybox sync; busybox sha256sum keep; cd /',
    );
    kept = written.text;
    expect(kept).toMatch(/^[0-9a-f]{64} {2}keep$/);
    const places = [await firstSector(guest, "/volume/marked"), await firstSector(guest, "/volume/other")] as const;

    // The kernel reads its superblock again, and it is not this one: recalculation without a hash, blocks of 2^200 sectors.
    const superblock = (await readFile(disk)).subarray(0, SUPERBLOCK_SECTORS * SECTOR);
    const crafted = Buffer.from(superblock);
    crafted.writeUInt32LE(8 | 2, 24);
    crafted.writeUInt8(200, 28);
    await overwrite(disk, 0, crafted);
    const resumed = await guest.sh(
      "dmsetup suspend contrast-volume-data && dmsetup suspend contrast-volume-data_dif && dmsetup resume contrast-volume-data_dif && dmsetup resume contrast-volume-data && echo 3 >/proc/sys/vm/drop_caches && busybox sha256sum /volume/keep && dmsetup table contrast-volume-data_dif",
    );
    expect(resumed.text).toContain(kept.slice(0, 64));
    expect(resumed.text).toContain("block_size:4096 journal_sectors:32736 interleave_sectors:32768");
    await overwrite(disk, 0, superblock);

    const { text } = await guest.sh("stop");
    expect(text).toContain("the volume is closed");
    expect(text.split("\n").slice(-2)).toEqual(["code 0", "control"]);
    expect(guest.console).not.toMatch(/BUG|Oops|general protection/);

    const bytes = await readFile(disk);
    expect(bytes.includes(MARK)).toBe(false);
    await cp(disk, good);
    const look = (...keys: readonly ReturnType<typeof keyOf>[]) => inspect(readerOf(bytes), DISK, keys);
    expect(await look(keyOf())).toMatchObject({ kind: "volume" });
    expect(await look(keyOf("data", 9, 2), keyOf("data", 7, 1))).toMatchObject({ kind: "volume", key: { version: 1 } });
    expect(await look(keyOf("data", 8))).toMatchObject({ kind: "unreadable", where: "block 0" });
    expect(await look(keyOf("other"))).toMatchObject({ kind: "unreadable", where: "block 0" });

    // One bit of the first file's block, one of the second's tag.
    const tampered = join(folder, "tampered");
    await cp(disk, tampered);
    for (const offset of [placeOf(places[0]).data + 100, placeOf(places[1]).tag]) {
      await overwrite(tampered, offset, Buffer.of((bytes[offset] ?? 0) ^ 1));
    }

    const again = await guest.sh("start /dev/vdb");
    expect(again.text).toContain("the volume is mounted");
    const during = await guest.sh(
      "echo synced >/volume/synced; busybox sync; (i=0; while true; do i=$((i+1)); busybox dd if=/dev/urandom of=/volume/w$((i % 20)) bs=64k count=4 conv=fsync 2>/dev/null; echo $i >/run/count; done) & until [ $(cat /run/count 2>/dev/null || echo 0) -ge 10 ]; do busybox sleep 0.1; done",
    );
    expect(during.code).toBe(0);
    await guest.kill();
  });

  test("after a power cut synced data is there; what was changed outside is never read", async () => {
    const journal = join(folder, "journal");
    const wiped = emptyDisk("wiped");
    await cp(good, journal);
    await overwrite(journal, SUPERBLOCK_SECTORS * SECTOR, Buffer.alloc(64 * 1024, 0xa5));
    const guest = await boot(disk, join(folder, "tampered"), journal, wiped);

    const reopened = await guest.sh("start /dev/vdb CONTRAST_TLS_CONFIG_DIR=/rekeyed CONTRAST_TIMEOUT=1s");
    expect(reopened.text).toContain('"secret":1');
    expect(reopened.text).toContain("the key of a workload secret of before a rekey");
    const there = await guest.sh("cat /volume/synced; busybox sha256sum /volume/keep");
    expect(there.text).toContain("synced");
    expect(there.text).toContain(kept.slice(0, 64));
    // Killed, too, and this time what is left is not mounted: whoever comes next closes it before anything else.
    const checked = await guest.sh(
      "busybox umount /volume; e2fsck -fn /dev/mapper/contrast-volume-data; busybox killall -9 node; until [ -e /run/code ]; do busybox sleep 0.1; done; ls /dev/mapper",
    );
    expect(checked.text).toContain("\ncontrast-volume-data\n");
    expect(checked.text).toMatch(/contrast-volume-data: \d+\/\d+ files/);
    expect(checked.text).not.toMatch(/error|Fix\?/i);

    await guest.sh("start /dev/vdc");
    const read = (name: string) => guest.sh(`busybox cat /volume/${name} 2>&1 >/run/read; busybox sha256sum /run/read`);
    for (const name of ["marked", "other"]) {
      const { text } = await read(name);
      expect(text).toContain("Input/output error");
      // Of what could be read nothing is wrong: the first block is the one that is lost.
      expect(text).toContain(createHash("sha256").update("").digest("hex"));
    }
    expect((await read("keep")).text).toContain(kept.slice(0, 64));
    expect(guest.console).toContain("INTEGRITY AEAD ERROR");
    await guest.sh("stop");

    const broken = await guest.sh("start /dev/vdd CONTRAST_TIMEOUT=1s");
    expect(broken.text).toContain('"code":"volume_unreadable"');
    expect(broken.text).toContain("mount");

    const before = await digest(wiped);
    const refused = await guest.sh("start /dev/vde CONTRAST_TIMEOUT=1s");
    expect(refused.text).toContain('"code":"volume_not_formatted"');
    expect(await digest(wiped)).toBe(before);
    expect(guest.console).not.toMatch(/BUG|Oops|general protection/);
  });
});
