import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { type FileHandle, access, mkdir, mkdtemp, open, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { CheckProgram } from "./check-program.ts";
import { isErofs, erofsSize } from "./erofs/layout.ts";
import { openErofs } from "./erofs/open.ts";
import { GuestImageError } from "./error.ts";
import { ext4Size, isExt4, openExt4 } from "./ext4.ts";
import { harden } from "./harden.ts";
import { readGuest } from "./kata.ts";
import { type Partition, layOut, makeMbr, readPartitions } from "./partitions.ts";
import type { RootFileSystem } from "./root-file-system.ts";
import { BLOCK, type Tree, type VerityParameters, hashTree, rootParameters, kernelVerityParams } from "./verity.ts";

export const IMAGE = "kata-containers-contrast.img";
/** What the node installer reads. */
export const DESCRIPTION = "guest.json";
export const REFERENCE = "reference.json";

/**
 * Programs in containers get evidence from the guest components over HTTP on loopback, and nothing else of them:
 * kata-containers, src/agent/src/config.rs, guest_components_rest_api.
 */
export const KERNEL_PARAMS = "agent.guest_components_rest_api=attestation";

export interface MakeOptions {
  /** Kata's image. */
  readonly image: string;
  /** A folder that is not there yet. */
  readonly out: string;
  /** Makes the check; called when the image is one that can be hardened. */
  readonly check: () => Promise<CheckProgram>;
  /** The hash tree that Kata's image should have. */
  readonly verity?: VerityParameters | undefined;
  /** Hexadecimal digits; undefined: made from the contents. */
  readonly salt?: Uint8Array | undefined;
  readonly kataVersion?: string | undefined;
  /** Undefined: KERNEL_PARAMS. */
  readonly kernelParams?: string | undefined;
  readonly stop?: AbortSignal | undefined;
  readonly talk: (line: string) => void;
}

/** What a node needs to know. Digests are SHA-256, in hexadecimal digits. */
export interface Description {
  /** Name of the file beside this one. */
  readonly image: string;
  readonly sha256: string;
  readonly rootfsType: "ext4" | "erofs";
  /** What comes behind Kata's own parameters of the kernel. */
  readonly kernelParams: string;
  /** `kernel_verity_params` of Kata's configuration. */
  readonly kernelVerityParams: string;
}

/** Where the image comes from, and what its measurement stands for. */
export interface Reference {
  readonly sha256: string;
  readonly rootHash: string;
  /** What Kata makes of `kernelVerityParams`: the beginning of the kernel's command line, which is measured. */
  readonly rootParameters: string;
  readonly source: { readonly sha256: string; readonly kataVersion: string };
  readonly check: { readonly sha256: string; readonly compiler: string };
}

export interface GuestImage {
  readonly description: Description;
  readonly reference: Reference;
}

/**
 * Makes a hardened image out of Kata's. Nothing is at `out` unless all of it is.
 *
 * @throws GuestImageError, ImageError
 */
export async function makeGuestImage(options: MakeOptions): Promise<GuestImage> {
  const out = resolve(options.out);
  await refuseExisting(out);
  await mkdir(dirname(out), { recursive: true });
  // Beside the result, so that it can be renamed.
  const work = await mkdtemp(join(dirname(out), ".guest-image-"));
  try {
    const made = join(work, "out");
    await mkdir(made);
    const image = await make(options, work, join(made, IMAGE));
    await writeJson(join(made, DESCRIPTION), image.description);
    await writeJson(join(made, REFERENCE), image.reference);
    await rename(made, out);
    return image;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function make(options: MakeOptions, work: string, made: string): Promise<GuestImage> {
  const { talk, stop } = options;
  talk("reading Kata's image");
  const source = await openSource(options.image);
  const file = join(work, "root");
  let type: RootFileSystem["type"];
  try {
    const [partition] = await readPartitions(source);
    if (options.verity !== undefined) await checkTree(options.image, partition, options.verity);
    type = await extract(source, partition, options.image, file);
  } finally {
    await source.close();
  }
  talk(`${type}: looking at the guest`);
  const root = await (type === "ext4" ? openExt4(file, stop) : openErofs(file, stop));
  const guest = await readGuest(root, options.kataVersion);
  talk(`Kata ${guest.kataVersion}: building the check, and putting it in`);
  const check = await options.check();
  await harden(root, guest, check.bytes);
  talk("making the hash tree");
  const salt = options.salt === undefined ? await saltOf(file) : Buffer.from(options.salt);
  const { size } = await stat(file);
  const tree = await hashTree(blocksOf(file, 0, size), salt);
  const verity = { rootHash: tree.rootHash, salt: salt.toString("hex"), dataBlocks: size / BLOCK };
  await assemble(file, size, tree, made);
  const sha256 = await digestOf(made);
  return {
    description: {
      image: IMAGE,
      sha256,
      rootfsType: type,
      kernelParams: options.kernelParams ?? KERNEL_PARAMS,
      kernelVerityParams: kernelVerityParams(verity),
    },
    reference: {
      sha256,
      rootHash: tree.rootHash,
      rootParameters: rootParameters(verity, type),
      source: { sha256: await digestOf(options.image), kataVersion: guest.kataVersion },
      check: { sha256: sha256Hex(check.bytes), compiler: check.compiler },
    },
  };
}

function writeJson(path: string, value: unknown): Promise<void> {
  return writeFile(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

async function refuseExisting(out: string): Promise<void> {
  const isThere = await access(out).then(
    () => true,
    () => false,
  );
  if (!isThere) return;
  throw new GuestImageError("output_exists", "the folder for the results is there", {
    where: out,
    hint: "remove it, or name another one by --out",
  });
}

interface Source {
  readonly size: number;
  read(start: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

async function openSource(path: string): Promise<Source> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    const got = error instanceof Error ? error.message : "a failure";
    throw new GuestImageError("image_unknown", "the image can't be read", { where: path, got, cause: error });
  }
  const { size } = await file.stat();
  const read = async (start: number, length: number): Promise<Buffer> => {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, start);
    return bytes.subarray(0, bytesRead);
  };
  return { size, read, close: () => file.close() };
}

/** The file system of a partition, in a file of its own that has whole blocks. */
async function extract(source: Source, partition: Partition, image: string, file: string): Promise<"ext4" | "erofs"> {
  const start = await source.read(partition.start, BLOCK);
  const type = isExt4(start) ? "ext4" : isErofs(start) ? "erofs" : undefined;
  if (type === undefined) {
    throw new GuestImageError("filesystem_unknown", "the first partition has neither ext4 nor erofs", {
      got: start.toString("latin1", 0, 4) === "XFSB" ? "xfs" : "something else",
    });
  }
  const size = type === "ext4" ? ext4Size(start) : erofsSize(start);
  if (size > partition.length) {
    throw new GuestImageError("image_cut", "the file system is longer than its partition", {
      got: `${partition.length} bytes`,
      want: `${size} bytes`,
      hint: "download the image again",
    });
  }
  const end = partition.start + size - 1;
  await pipeline(createReadStream(image, { start: partition.start, end }), createWriteStream(file));
  await truncate(file, Math.ceil(size / BLOCK) * BLOCK);
  return type;
}

async function checkTree(image: string, partition: Partition, verity: VerityParameters): Promise<void> {
  const length = Math.min(verity.dataBlocks * BLOCK, partition.length);
  const { rootHash } = await hashTree(blocksOf(image, partition.start, length), Buffer.from(verity.salt, "hex"));
  if (rootHash === verity.rootHash) return;
  throw new GuestImageError("verity_mismatch", "the image is not the one with this root hash", {
    got: rootHash,
    want: verity.rootHash,
    hint: "take image and parameters of the same release",
  });
}

/** The partition table, the file system, and its hash tree. */
async function assemble(file: string, size: number, tree: Tree, made: string): Promise<void> {
  const [root, hash] = layOut(size, tree.bytes.length);
  const image = await open(made, "wx");
  try {
    await image.truncate(hash.start + hash.length);
    await image.write(makeMbr(root, hash), 0, undefined, 0);
    let at = root.start;
    for await (const block of blocksOf(file, 0, size)) {
      await image.write(block, 0, block.length, at);
      at += block.length;
    }
    await image.write(tree.bytes, 0, tree.bytes.length, hash.start);
    await image.sync();
  } finally {
    await image.close();
  }
}

/** Whole blocks. @param length a multiple of their size */
async function* blocksOf(file: string, start: number, length: number): AsyncGenerator<Buffer> {
  if (length === 0) return;
  for await (const chunk of createReadStream(file, { start, end: start + length - 1, highWaterMark: 256 * BLOCK })) {
    const bytes = chunk as Buffer;
    for (let at = 0; at < bytes.length; at += BLOCK) yield bytes.subarray(at, at + BLOCK);
  }
}

/** The same contents give the same salt, and so the same image. It is no secret. */
async function saltOf(file: string): Promise<Buffer> {
  return Buffer.from(sha256Hex(Buffer.from(`contrast-guest-image-v1\0${await digestOf(file)}`)), "hex");
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
