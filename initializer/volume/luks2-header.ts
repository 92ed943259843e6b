import { createHash, pbkdf2Sync } from "node:crypto";
import { BLOCK } from "./layout.ts";
import type { VolumeKey } from "./volume-key.ts";

/**
 * A LUKS2 header that tells cryptsetup what the volume is, made of constants and the key (LUKS2 On-Disk Format Specification
 * 1.1.1, §2.1 binary headers, §3 JSON). It lives in the memory of the guest, is given by `--header`, and has no keyslot: the
 * key comes by `--volume-key-file`.
 */

const HEADER_BYTES = 16_384;
const BINARY_BYTES = 4096;
const CHECKSUM_OFFSET = 448;

/** Of no consequence, and cryptsetup wants one. */
const UUID = "00000000-0000-4000-8000-000000000000";

/** The least that cryptsetup takes. The key has 96 random bytes, so there is nothing to guess. */
const ITERATIONS = 1000;

/** @returns both copies of the header, 32 KiB */
export function makeLuks2Header(key: VolumeKey): Buffer {
  const json = Buffer.alloc(HEADER_BYTES - BINARY_BYTES);
  json.write(JSON.stringify(metadata(key)));
  return Buffer.concat([
    binaryHeader("LUKS\xba\xbe", 0, json),
    json,
    binaryHeader("SKUL\xba\xbe", HEADER_BYTES, json),
    json,
  ]);
}

function metadata(key: VolumeKey): unknown {
  const salt = createHash("sha256").update("contrast volume digest").digest();
  return {
    keyslots: {},
    tokens: {},
    segments: {
      "0": {
        type: "crypt",
        offset: "0",
        size: "dynamic",
        iv_tweak: "0",
        encryption: "aes-xts-plain64",
        sector_size: BLOCK,
        integrity: { type: "hmac(sha256)", journal_encryption: "none", journal_integrity: "none" },
      },
    },
    digests: {
      "0": {
        type: "pbkdf2",
        keyslots: [],
        segments: ["0"],
        hash: "sha256",
        iterations: ITERATIONS,
        salt: salt.toString("base64"),
        digest: pbkdf2Sync(key.bytes.reveal(), salt, ITERATIONS, 32, "sha256").toString("base64"),
      },
    },
    config: { json_size: String(HEADER_BYTES - BINARY_BYTES), keyslots_size: "0" },
  };
}

/** struct luks2_hdr_disk. Numbers are big-endian. */
function binaryHeader(magic: string, offset: number, json: Buffer): Buffer {
  const bytes = Buffer.alloc(BINARY_BYTES);
  bytes.write(magic, 0, "latin1");
  bytes.writeUInt16BE(2, 6);
  bytes.writeBigUInt64BE(BigInt(HEADER_BYTES), 8);
  // The sequence id: both copies are the same version.
  bytes.writeBigUInt64BE(1n, 16);
  bytes.write("sha256", 72);
  bytes.write(UUID, 168);
  bytes.writeBigUInt64BE(BigInt(offset), 256);
  createHash("sha256").update(bytes).update(json).digest().copy(bytes, CHECKSUM_OFFSET);
  return bytes;
}
