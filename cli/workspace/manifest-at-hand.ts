import { join } from "node:path";
import { ManifestError } from "../../manifest/error.ts";
import { type Manifest, parseManifest } from "../../manifest/manifest.ts";
import type { Context } from "../context.ts";
import { requireFilledIn } from "./open-values.ts";
import { FILES, readInput } from "./workspace.ts";

/** The manifest that a command is about: the one that is named, or the workspace's. */
export interface ManifestAtHand {
  readonly path: string;
  /** As they stand in the file: they are what is compared and signed. */
  readonly bytes: Buffer;
  readonly manifest: Manifest;
}

/** @throws CliError unreadable_file, ManifestError; also where values are yet to be filled in */
export async function readManifest(context: Context, option: string | undefined): Promise<ManifestAtHand> {
  const path = option ?? join(context.workspace, FILES.manifest);
  const bytes = await readInput(
    path,
    "the manifest",
    "`contrast generate` makes one; --manifest names another file, --workspace-dir another folder",
  );
  try {
    requireFilledIn(bytes);
    return { path, bytes, manifest: parseManifest(bytes) };
  } catch (error) {
    // Its places are JSON paths, and do not tell which file they are in.
    if (error instanceof ManifestError) error.message = `${path}: ${error.message}`;
    throw error;
  }
}
