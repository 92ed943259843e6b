import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** An image as a folder: OCI Image Layout 1.1. */

/** A manifest of the index of an image (OCI Image Specification 1.1, image-index.md). */
interface PlatformManifest {
  readonly architecture: string;
  readonly layers: readonly Descriptor[];
}

export interface Descriptor {
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

export function blobPath(layout: string, digest: string): string {
  return join(layout, "blobs", ...digest.split(":"));
}

/** @param digest of the image's index */
export async function readManifests(layout: string, digest: string): Promise<PlatformManifest[]> {
  const read = async <T>(digest: string): Promise<T> =>
    JSON.parse(await readFile(blobPath(layout, digest), "utf8")) as T;
  const { manifests } = await read<{
    manifests: readonly (Descriptor & { readonly platform?: { readonly architecture: string } })[];
  }>(digest);
  return Promise.all(
    manifests.map(async ({ digest, platform }) => {
      const { layers } = await read<{ layers: readonly Descriptor[] }>(digest);
      return { architecture: platform?.architecture ?? "", layers };
    }),
  );
}
