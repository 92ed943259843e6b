import { hash } from "node:crypto";
import { fromHex } from "../../bytes/hex.ts";
import { GuestImageError } from "./error.ts";

/**
 * The hash tree of dm-verity, format 1, SHA-256, blocks of 4096 bytes, without a superblock: what
 * `veritysetup format --no-superblock` writes (Linux, Documentation/admin-guide/device-mapper/verity.rst).
 */

export const BLOCK = 4096;
const DIGEST = 32;
const PER_BLOCK = BLOCK / DIGEST;

export interface Tree {
  readonly rootHash: string;
  /** As it stands on the hash device: the top level first. */
  readonly bytes: Buffer;
}

/** What the kernel needs to know, in the order of Kata's `kernel_verity_params`. */
export interface VerityParameters {
  /** 64 hexadecimal digits, like the salt. */
  readonly rootHash: string;
  readonly salt: string;
  readonly dataBlocks: number;
}

/** @param blocks of the data, each of 4096 bytes */
export async function hashTree(blocks: AsyncIterable<Buffer>, salt: Buffer): Promise<Tree> {
  const input = Buffer.concat([salt, Buffer.alloc(BLOCK)]);
  const digest = (block: Buffer): Buffer => {
    block.copy(input, salt.length);
    return hash("sha256", input, "buffer");
  };
  const leaves: Buffer[] = [];
  for await (const block of blocks) leaves.push(digest(block));
  const levels: Buffer[] = [];
  let digests = leaves;
  while (digests.length > 1) {
    const level = Buffer.alloc(Math.ceil(digests.length / PER_BLOCK) * BLOCK);
    for (const [index, one] of digests.entries()) one.copy(level, index * DIGEST);
    levels.unshift(level);
    digests = Array.from({ length: level.length / BLOCK }, (_, index) =>
      digest(level.subarray(index * BLOCK, (index + 1) * BLOCK)),
    );
  }
  return { rootHash: digests[0]?.toString("hex") ?? "", bytes: Buffer.concat(levels) };
}

/** Kata's form: kata-containers, src/libs/kata-types/src/config/hypervisor/mod.rs, parse_kernel_verity_params. */
export function kernelVerityParams({ rootHash, salt, dataBlocks }: VerityParameters): string {
  return (
    `root_hash=${rootHash},salt=${salt},data_blocks=${dataBlocks},` +
    `data_block_size=${BLOCK},hash_block_size=${BLOCK}`
  );
}

/** @throws GuestImageError bad_option */
export function parseKernelVerityParams(text: string): VerityParameters {
  const values = new Map(
    text
      .trim()
      .split(",")
      .map((part): [string, string] => {
        const [key = "", ...value] = part.split("=");
        return [key, value.join("=")];
      }),
  );
  const [rootHash = "", salt = "", dataBlocks = ""] = ["root_hash", "salt", "data_blocks"].map((key) =>
    values.get(key),
  );
  const isWhole =
    fromHex(rootHash, DIGEST) !== undefined &&
    fromHex(salt) !== undefined &&
    /^[1-9][0-9]{0,9}$/.test(dataBlocks) &&
    values.get("data_block_size") === `${BLOCK}` &&
    values.get("hash_block_size") === `${BLOCK}`;
  if (!isWhole) {
    throw new GuestImageError("bad_option", "these are not the parameters of a hash tree", {
      where: "--verity",
      got: JSON.stringify(text),
      want: `root_hash=…,salt=…,data_blocks=…,data_block_size=${BLOCK},hash_block_size=${BLOCK}`,
      hint: "they stand as kernel_verity_params in Kata's configuration for confidential VMs",
    });
  }
  return { rootHash: rootHash.toLowerCase(), salt: salt.toLowerCase(), dataBlocks: Number(dataBlocks) };
}

/**
 * What Kata puts in front of the kernel's command line for such an image on a virtio disk: kata-containers,
 * src/runtime/virtcontainers/hypervisor.go, GetKernelRootParams, and src/runtime-rs/crates/hypervisor/src/kernel_param.rs.
 */
export function rootParameters(parameters: VerityParameters, type: "ext4" | "erofs"): string {
  const { rootHash, salt, dataBlocks } = parameters;
  const sectors = (BLOCK / 512) * dataBlocks;
  const table = `0 ${sectors} verity 1 /dev/vda1 /dev/vda2 ${BLOCK} ${BLOCK} ${dataBlocks} 0 sha256 ${rootHash} ${salt}`;
  const flags = type === "ext4" ? "data=ordered,errors=remount-ro ro" : "ro";
  return `dm-mod.create="dm-verity,,,ro,${table}" root=/dev/dm-0 rootflags=${flags} rootfstype=${type}`;
}
