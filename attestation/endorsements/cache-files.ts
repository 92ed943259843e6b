import { createHash } from "node:crypto";
import { mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { replaceFile } from "../../runtime/files.ts";
import { MAX_BODY } from "./fetch.ts";

/**
 * Answers on disk, one file each, named by the SHA-256 of the URL. A file is
 *
 *     <SHA-256 of all that follows, hex> LF <metadata, JSON on one line> LF <body>
 *
 * The digest finds damage, not malice: whoever can write here can write a digest. What is read back is worth no more
 * than what anybody else says.
 */
export interface Stored {
  readonly url: string;
  readonly body: Buffer;
  readonly header: string | undefined;
  /** Milliseconds since 1970. */
  readonly fetchedAt: number;
  /** Milliseconds. */
  readonly freshFor: number;
}

const metadataSchema = z.strictObject({
  url: z.string(),
  header: z.string().optional(),
  fetchedAt: z.number(),
  freshFor: z.number(),
});

/** Of all files together. */
const MAX_TOTAL = 16 * 1024 * 1024;
const MAX_METADATA = 64 * 1024;
const DIGEST_LENGTH = 64;

/** Ours, and what a crash left of them. */
const FILE_NAME = /^[0-9a-f]{64}(?:\.[0-9a-f]{12}\.tmp)?$/;

/** @throws the system's error */
export async function writeCacheFile(directory: string, { body, ...metadata }: Stored): Promise<void> {
  await mkdir(directory, { recursive: true });
  const rest = Buffer.concat([Buffer.from(`${JSON.stringify(metadata)}\n`), body]);
  await replaceFile(pathOf(directory, metadata.url), Buffer.concat([Buffer.from(`${sha256(rest)}\n`), rest]));
  await prune(directory);
}

/**
 * @returns undefined where there is no file
 * @throws Error where it is damaged, or the system's
 */
export async function readCacheFile(directory: string, url: string): Promise<Stored | undefined> {
  const file = await readBounded(pathOf(directory, url));
  if (file === undefined) return undefined;
  const rest = file.subarray(DIGEST_LENGTH + 1);
  const end = rest.indexOf("\n");
  if (file.toString("latin1", 0, DIGEST_LENGTH + 1) !== `${sha256(rest)}\n` || end < 0) {
    throw new Error("the cache file is damaged");
  }
  const { header, ...metadata } = metadataSchema.parse(JSON.parse(rest.toString("utf8", 0, end)));
  if (metadata.url !== url) throw new Error("the cache file is another URL's");
  return { ...metadata, header, body: rest.subarray(end + 1) };
}

async function readBounded(path: string): Promise<Buffer | undefined> {
  const file = await open(path, "r").catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const { size } = await file.stat();
    if (size > MAX_METADATA + MAX_BODY) throw new Error(`the cache file has ${size} bytes`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** Removes the oldest files beyond the limit. Peers choose what is asked for, so without it they could fill the disk. */
async function prune(directory: string): Promise<void> {
  const names = (await readdir(directory)).filter((name) => FILE_NAME.test(name));
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      // Another process may have removed or renamed it.
      const found = await stat(path).catch(() => undefined);
      return { path, modified: found?.mtimeMs ?? 0, size: spaceOf(found?.size ?? 0) };
    }),
  );
  let total = 0;
  for (const { path, size } of files.sort((a, b) => b.modified - a.modified)) {
    total += size;
    if (total > MAX_TOTAL) await rm(path, { force: true });
  }
}

/** What it takes, in blocks: many small ones take more than their bytes. */
function spaceOf(size: number): number {
  return Math.ceil(size / 4096) * 4096;
}

function pathOf(directory: string, url: string): string {
  return join(directory, sha256(url));
}

function sha256(bytes: string | Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
