import { type Annex, parseAnnex } from "../../manifest/annex.ts";
import { ManifestError } from "../../manifest/error.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import type { Context } from "../context.ts";
import { type ManifestAtHand, readManifest } from "../workspace/manifest-at-hand.ts";
import { readInput } from "../workspace/workspace.ts";

/** An annex in a file, as `pending list` saves it. */
export interface AnnexFile {
  readonly path: string;
  readonly bytes: Buffer;
  /** SHA-256, hex. */
  readonly digest: string;
  readonly annex: Annex;
}

/** What an owner means to sign or to take back, as the owner's file has it: one of the two. */
export type Meant = {
  /** The Coordinator has to be one of this manifest. */
  readonly atHand: ManifestAtHand;
} & (
  | { readonly manifest: ManifestAtHand; readonly annex: undefined }
  | { readonly manifest: undefined; readonly annex: AnnexFile }
);

/**
 * @param file undefined: the manifest at hand
 * @throws CliError unreadable_file; ManifestError
 */
export async function readMeant(
  context: Context,
  file: string | undefined,
  manifest: string | undefined,
): Promise<Meant> {
  const atHand = await readManifest(context, manifest);
  if (file === undefined) return { atHand, manifest: atHand, annex: undefined };
  const bytes = await readInput(file, "the change", "`contrast pending list` saves what is pending");
  if (!looksLikeAnnex(bytes)) return { atHand, manifest: await readManifest(context, file), annex: undefined };
  return { atHand, manifest: undefined, annex: readAnnex(file, bytes) };
}

/** An annex has two keys, and a manifest has neither of them. */
export function looksLikeAnnex(bytes: Buffer): boolean {
  return /^\s*\{\s*"(?:Secrets|Volumes)"/.test(bytes.toString("latin1", 0, 1024));
}

/** @throws ManifestError with the file in its message */
export function readAnnex(path: string, bytes: Buffer): AnnexFile {
  try {
    return { path, bytes, digest: sha256Hex(bytes), annex: parseAnnex(bytes) };
  } catch (error) {
    if (error instanceof ManifestError) error.message = `${path}: ${error.message}`;
    throw error;
  }
}
