import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Secret } from "../../runtime/secret.ts";
import { makeLuks2Header } from "./luks2-header.ts";
import { deriveVolumeKey } from "./volume-key.ts";

const CRYPTSETUP = ["/sbin/cryptsetup", "/usr/sbin/cryptsetup"].find((path) => existsSync(path)) ?? "";
const folder = mkdtempSync(join(tmpdir(), "contrast-luks2-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const key = deriveVolumeKey(new Secret(Buffer.alloc(32, 7)), "data");
const header = makeLuks2Header(key);

function file(name: string, content: Uint8Array): string {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

test("both copies have the checksum of what they are", () => {
  for (const start of [0, 16_384]) {
    const copy = Buffer.from(header.subarray(start, start + 16_384));
    const checksum = Buffer.from(copy.subarray(448, 448 + 64));
    copy.fill(0, 448, 448 + 64);
    expect(createHash("sha256").update(copy).digest()).toEqual(checksum.subarray(0, 32));
    expect(copy.readBigUInt64BE(256)).toBe(BigInt(start));
  }
});

test("the same key has the same header, and the header tells nothing of the key", () => {
  expect(makeLuks2Header(key)).toEqual(header);
  const bytes = key.bytes.reveal();
  for (const part of [bytes.subarray(0, 16), bytes.subarray(64, 80)]) expect(header.includes(part)).toBe(false);
});

describe.skipIf(CRYPTSETUP === "")("cryptsetup", () => {
  const disk = file("disk", Buffer.alloc(2 ** 20));
  const header1 = file("header", header);

  const accepts = (keyFile: string, headerFile: string): { status: number | null; stderr: string } => {
    const args = "open --test-passphrase --type luks2 --disable-locks --key-size 768".split(" ");
    return spawnSync(CRYPTSETUP, [...args, "--header", headerFile, "--volume-key-file", keyFile, disk], {
      encoding: "utf8",
    });
  };

  test("takes the header with its key, and with no other", () => {
    expect(accepts(file("key", key.bytes.reveal()), header1)).toMatchObject({ status: 0, stderr: "" });
    const other = deriveVolumeKey(new Secret(Buffer.alloc(32, 7)), "other").bytes.reveal();
    expect(accepts(file("other", other), header1)).toMatchObject({
      status: 2,
      stderr: "Volume key does not match the volume.\n",
    });
  });

  test("sees no difference between the copies", () => {
    const damaged = Buffer.from(header);
    damaged.fill(0, 0, 16_384);
    const { status, stdout } = spawnSync(CRYPTSETUP, ["luksDump", file("damaged", damaged)], { encoding: "utf8" });
    expect(status).toBe(0);
    expect(stdout).toBe(execFileSync(CRYPTSETUP, ["luksDump", header1], { encoding: "utf8" }));
  });

  test("makes a header that says the same, but for keyslots, salts and names", () => {
    // For tags it would need the kernel: guest.test.ts compares those.
    const own = join(folder, "own");
    writeFileSync(own, Buffer.alloc(16 * 2 ** 20));
    const args =
      "luksFormat --batch-mode --type luks2 --disable-locks --cipher aes-xts-plain64 --key-size 512 --sector-size 4096 --pbkdf pbkdf2 --pbkdf-force-iterations 1000".split(
        " ",
      );
    const passphrase = file("passphrase", Buffer.from("a passphrase"));
    const made = spawnSync(CRYPTSETUP, [...args, "--header", own, "--key-file", passphrase, disk], {
      encoding: "utf8",
    });
    expect(made.stderr).toBe("");
    const theirs = metadataOf(readFileSync(own));
    const ours = metadataOf(header);
    expect(Object.keys(ours)).toEqual(Object.keys(theirs));
    const { integrity, ...segment } = ours.segments["0"] ?? {};
    expect(segment).toEqual(theirs.segments["0"]);
    expect(integrity).toEqual({ type: "hmac(sha256)", journal_encryption: "none", journal_integrity: "none" });
    expect(Object.keys(ours.digests["0"] ?? {})).toEqual(Object.keys(theirs.digests["0"] ?? {}));
    expect(ours.config["json_size"]).toBe(theirs.config["json_size"]);
    // The fixed parts of the binary headers.
    const binary = readFileSync(own);
    for (const [from, to] of [
      [0, 16],
      [72, 104],
      [256, 448],
      [512, 4096],
    ] as const) {
      expect(header.subarray(from, to)).toEqual(binary.subarray(from, to));
    }
  });
});

interface Metadata {
  readonly segments: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly digests: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly config: Readonly<Record<string, unknown>>;
}

function metadataOf(bytes: Buffer): Metadata {
  const json = bytes.subarray(4096, 16_384);
  return JSON.parse(json.subarray(0, json.indexOf(0)).toString()) as Metadata;
}
