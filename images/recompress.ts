import { copyFile, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sha256Hex } from "../bytes/sha256.ts";
import { blobPath, type Descriptor } from "./oci-layout.ts";
import { run, type RunOptions } from "./run.ts";

/** A layer that has been compressed anew, and where it is. */
export interface Recompressed extends Descriptor {
  readonly path: string;
}

interface Index {
  readonly manifests: readonly Descriptor[];
}

/**
 * Compresses the layers of an image anew: buildah does it quickly, which gives a twentieth more bytes for every node to
 * fetch. What is in them, and the image's configuration, stay as they are.
 *
 * @param layout of the image, which has one index
 * @param known layers that other images have as well, by the digest that buildah gave them
 * @returns the digest of the new index
 * @throws ImageError tool_missing, disk_full, build_failed
 */
export async function recompress(
  layout: string,
  known: Map<string, Recompressed>,
  options: RunOptions,
): Promise<string> {
  const layer = async (old: Descriptor): Promise<Descriptor> => {
    const { path, digest, size } = known.get(old.digest) ?? (await compress(layout, old.digest, options));
    known.set(old.digest, { path, digest, size });
    if (path !== blobPath(layout, digest)) await copyFile(path, blobPath(layout, digest));
    await rm(blobPath(layout, old.digest), { force: true });
    return { ...old, digest, size };
  };
  const manifest = async (old: Descriptor): Promise<Descriptor> => {
    const content = await read<{ layers: readonly Descriptor[] }>(layout, old);
    const layers: Descriptor[] = [];
    for (const one of content.layers) layers.push(await layer(one));
    return replace(layout, old, { ...content, layers });
  };
  const index = async (old: Descriptor): Promise<Descriptor> => {
    const content = await read<Index>(layout, old);
    const manifests: Descriptor[] = [];
    for (const one of content.manifests) manifests.push(await manifest(one));
    return replace(layout, old, { ...content, manifests });
  };
  const file = join(layout, "index.json");
  const top = JSON.parse(await readFile(file, "utf8")) as { readonly manifests: readonly [Descriptor] };
  const made = await index(top.manifests[0]);
  await writeFile(file, JSON.stringify({ ...top, manifests: [made] }));
  return made.digest;
}

/** gzip without a name and a time: the same bytes on every machine. */
async function compress(layout: string, digest: string, options: RunOptions): Promise<Recompressed> {
  const scratch = join(layout, "layer");
  // Not by a pipe: a shell does not tell that its first part failed, and what was read until then would be the layer.
  const script = 'gzip -dc "$1" > "$2.tar"; gzip -9nc "$2.tar" > "$2"; rm "$2.tar"';
  await run("sh", ["-euc", script, "sh", blobPath(layout, digest), scratch], options);
  const [sum = ""] = (await run("sha256sum", [scratch], options)).split(" ");
  const made = `sha256:${sum}`;
  const path = blobPath(layout, made);
  await rename(scratch, path);
  return { digest: made, size: (await stat(path)).size, path };
}

async function read<T>(layout: string, { digest }: Descriptor): Promise<T> {
  return JSON.parse(await readFile(blobPath(layout, digest), "utf8")) as T;
}

/** Writes a blob in place of another. */
async function replace(layout: string, old: Descriptor, content: object): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(content));
  const digest = `sha256:${sha256Hex(bytes)}`;
  await rm(blobPath(layout, old.digest));
  await writeFile(blobPath(layout, digest), bytes);
  return { ...old, digest, size: bytes.length };
}
