import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Guest, lacksForGuests, makeGuestImage } from "../initializer/volume/test-guest.ts";
import { median } from "./rounds.ts";

/**
 * What an encrypted volume costs beside the plain disk, in one guest under software emulation: an ext4 on each, files written
 * with fsync and read without a cache, in turns. And the seconds from the program's start to the mounted volume. Without
 * hardware for AES and SHA only the ratios say something.
 *
 * Usage: npm run bench:volume
 */

const ROUNDS = 5;
const FILE_MB = 32;
const DISK = 512 * 2 ** 20;
const VOLUME = "/volume";
const PLAIN = "/tmp/plain";

const lacks = lacksForGuests();
if (lacks !== undefined) throw new Error(lacks);
const folder = mkdtempSync(join(tmpdir(), "contrast-bench-volume-"));
let guest: Guest | undefined;
try {
  const disks = ["volume", "plain"].map((name) => {
    const file = join(folder, name);
    writeFileSync(file, "");
    truncateSync(file, DISK);
    return file;
  });
  const secret = Buffer.alloc(32, 7).toString("hex");
  const image = await makeGuestImage(folder, { "tls-config/workload-secret-seed": secret });
  guest = await Guest.start({ ...image, disks, folder });
  const run = async (command: string): Promise<string> => (await sh(command)).text;
  const sh = async (command: string): ReturnType<Guest["sh"]> => {
    const answer = await guest?.sh(command, 300_000);
    if (answer === undefined || answer.code !== 0) throw new Error(`${command}: ${answer?.text}`);
    return answer;
  };
  /** Seconds of the guest's clock. */
  const timed = async (command: string): Promise<number> => {
    const clock = "busybox cut -d' ' -f1 /proc/uptime";
    const [from, to] = (await run(`${clock}; { ${command}; } >/dev/null 2>&1; ${clock}`)).split("\n");
    return Number(to) - Number(from);
  };
  const start =
    "rm -f /run/code; (CONTRAST_VOLUME_NAME=data CONTRAST_VOLUME_DEVICE=/dev/vdb node /opt/contrast/volume.mjs; echo $? >/run/code) & until busybox grep -q /dev/mapper/contrast /proc/mounts; do busybox sleep 0.05; done";
  const stop = "busybox killall node; until [ -e /run/code ]; do busybox sleep 0.05; done";
  const node = await timed("node -e 1");
  await run("touch /run/grant");
  const formatted = await timed(start);
  await run(stop);
  const opened = await timed(start);

  await run(
    `mkdir ${PLAIN}; /sbin/mkfs.ext4 -q -F -b 4096 -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/vdc`,
  );
  await run(`busybox mount -t ext4 /dev/vdc ${PLAIN}`);
  const write = (to: string): Promise<number> =>
    timed(`busybox dd if=/dev/zero of=${to}/file bs=1M count=${FILE_MB} conv=fsync`);
  const read = (from: string): Promise<number> =>
    timed(`echo 3 >/proc/sys/vm/drop_caches; busybox dd if=${from}/file of=/dev/null bs=1M`);
  const rates: Record<"write" | "read", { volume: number[]; plain: number[] }> = {
    write: { volume: [], plain: [] },
    read: { volume: [], plain: [] },
  };
  for (let round = 0; round < ROUNDS; round++) {
    rates.write.plain.push(FILE_MB / (await write(PLAIN)));
    rates.write.volume.push(FILE_MB / (await write(VOLUME)));
    rates.read.plain.push(FILE_MB / (await read(PLAIN)));
    rates.read.volume.push(FILE_MB / (await read(VOLUME)));
  }
  await run(stop);

  const row = (what: "write" | "read"): string => {
    const [volume, plain] = [median(rates[what].volume), median(rates[what].plain)];
    return `| ${what}, ${FILE_MB} MiB: MiB/s | ${volume.toFixed(0)} | ${plain.toFixed(0)} | ${(volume / plain).toFixed(3)} |`;
  };
  const text = `# Encrypted volumes

Written by \`npm run bench:volume\`: medians of ${ROUNDS} rounds, in one guest under software emulation (QEMU's TCG), two disks of
${DISK / 2 ** 20} MiB. Only the ratios say something, and they are worse than with a processor's instructions for AES and SHA.

| | volume | plain disk | ratio |
|---|---|---|---|
${row("write")}
${row("read")}

| from the program's start, in the guest | seconds |
|---|---|
| until an empty program of Node has ended, for comparison | ${node.toFixed(1)} |
| until the volume is mounted | ${opened.toFixed(1)} |
| until a disk is formatted and mounted | ${formatted.toFixed(1)} |
`;
  writeFileSync(join(import.meta.dirname, "results", "volume.md"), text);
  process.stdout.write(text);
} finally {
  await guest?.kill();
  rmSync(folder, { recursive: true });
}
