import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { sha256Hex } from "../bytes/sha256.ts";
import type { Environment } from "../runtime/environment.ts";
import { makeDirectory, replaceFile } from "../runtime/files.ts";
import { digestLike, isDigest } from "./digest.ts";

/**
 * What registries said, on disk. Manifests and configs lie under their digests and are compared with them whenever they
 * are read, so nobody has to be trusted for them. What a tag stood for when it was last asked for lies beside; that is
 * used without a network only.
 */

/** `$XDG_CACHE_HOME/contrast/images`, or `~/.cache/…` (XDG Base Directory Specification: a relative path is ignored). */
export function defaultCacheDirectory(environment: Environment, home: string): string {
  const base = environment["XDG_CACHE_HOME"] ?? "";
  return join(isAbsolute(base) ? base : join(home, ".cache"), "contrast", "images");
}

export class ImageCache {
  readonly #directory: string;
  readonly #onWarning: (message: string) => void;
  #isWritable = true;

  /** @param onWarning called once if nothing can be kept */
  constructor(directory: string, onWarning: (message: string) => void) {
    this.#directory = directory;
    this.#onWarning = onWarning;
  }

  /** @returns the path where there is something else than the digest says */
  async read(digest: string): Promise<Buffer | { readonly damaged: string } | undefined> {
    const path = this.#blobPath(digest);
    const bytes = await this.#read(path);
    return bytes === undefined || digestLike(digest, bytes) === digest ? bytes : { damaged: path };
  }

  /** @param digest that the bytes have */
  write(digest: string, bytes: Uint8Array): Promise<void> {
    return this.#write(this.#blobPath(digest), bytes);
  }

  /** @param name `fullName` of a reference by tag */
  async readTag(name: string): Promise<string | undefined> {
    const text = (await this.#read(this.#tagPath(name)))?.toString() ?? "";
    const digest = text.startsWith(`${name} `) ? text.slice(name.length + 1).trimEnd() : "";
    return isDigest(digest) ? digest : undefined;
  }

  writeTag(name: string, digest: string): Promise<void> {
    return this.#write(this.#tagPath(name), `${name} ${digest}\n`);
  }

  #blobPath(digest: string): string {
    return join(this.#directory, "blobs", ...digest.split(":"));
  }

  /** Hashed: `a/b` can be a repository, and `b` a tag of `a`. */
  #tagPath(name: string): string {
    return join(this.#directory, "tags", sha256Hex(Buffer.from(name)));
  }

  /** What can't be read is not there. */
  async #read(path: string): Promise<Buffer | undefined> {
    return readFile(path).catch(() => undefined);
  }

  /** For the user alone: private images have things in their ENV. */
  async #write(path: string, bytes: string | Uint8Array): Promise<void> {
    if (!this.#isWritable) return;
    try {
      await makeDirectory(dirname(path), 0o700);
      await replaceFile(path, bytes, 0o600);
    } catch (error) {
      this.#isWritable = false;
      const { code = String(error) } = error as NodeJS.ErrnoException;
      this.#onWarning(`nothing is kept in the cache of images, ${this.#directory} (${code}); --offline will lack it`);
    }
  }
}
