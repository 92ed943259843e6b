import type { Context } from "../context.ts";
import { type AnnexFile, looksLikeAnnex, readAnnexFile } from "../workspace/annex-file.ts";
import { type ManifestAtHand, readManifest } from "../workspace/manifest-at-hand.ts";
import { readInput } from "../workspace/workspace.ts";

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
  if (looksLikeAnnex(bytes)) return { atHand, manifest: undefined, annex: readAnnexFile(file, bytes) };
  return { atHand, manifest: await readManifest(context, file), annex: undefined };
}
