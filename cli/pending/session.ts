import type { Context } from "../context.ts";
import { type ManifestAtHand, readManifest } from "../workspace/manifest-at-hand.ts";

export interface PendingOptions {
  readonly coordinator: string;
  readonly manifest?: string;
  readonly workloadOwnerKey?: string;
  readonly signature?: string;
  readonly revoke?: boolean;
}

/** The manifest that is meant: the one that is named, or the one at hand. */
export async function readMeant(
  context: Context,
  file: string | undefined,
  options: PendingOptions,
): Promise<{ readonly atHand: ManifestAtHand; readonly meant: ManifestAtHand }> {
  const atHand = await readManifest(context, options.manifest);
  return { atHand, meant: file === undefined ? atHand : await readManifest(context, file) };
}
