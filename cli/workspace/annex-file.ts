import { type Annex, parseAnnex } from "../../manifest/annex.ts";
import { ManifestError } from "../../manifest/error.ts";
import { sha256Hex } from "../../bytes/sha256.ts";

/** An annex in a file, as `pending list` or `--prepare` saves it. */
export interface AnnexFile {
  readonly path: string;
  readonly bytes: Buffer;
  /** SHA-256, hex. */
  readonly digest: string;
  readonly annex: Annex;
}

/** An annex has two keys, and a manifest has neither of them. */
export function looksLikeAnnex(bytes: Buffer): boolean {
  return /^\s*\{\s*"(?:Secrets|Volumes)"/.test(bytes.toString("latin1", 0, 1024));
}

/** @throws ManifestError with the file in its message */
export function readAnnexFile(path: string, bytes: Buffer): AnnexFile {
  try {
    return { path, bytes, digest: sha256Hex(bytes), annex: parseAnnex(bytes) };
  } catch (error) {
    if (error instanceof ManifestError) error.message = `${path}: ${error.message}`;
    throw error;
  }
}
