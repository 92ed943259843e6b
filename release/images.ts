import { cp, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { sha256Hex } from "../bytes/sha256.ts";
import type { BuiltImage } from "../images/build.ts";
import { VERSION } from "../runtime/version.ts";
import { IMAGES } from "../images/catalog.ts";
import { ReleaseError } from "./error.ts";

/** An image of the release. */
export interface ReleasedImage {
  /** Its name behind `contrast/`. */
  readonly name: string;
  /** As the files of the checkout name it: `contrast/<name>:<version>`. */
  readonly original: string;
  /** `<registry>/contrast/<name>:<version>@sha256:<64 hex>`; without a registry it begins with `contrast/`. */
  readonly pinned: string;
  /** OCI's names of those that it is for. */
  readonly architectures: readonly string[];
}

/**
 * Takes over what `npm run images` built: one OCI image layout and the bills of materials for each image. Every byte is
 * compared with the digest that it goes by, because this is what is signed for.
 *
 * @param from a folder as images/program.ts writes it
 * @throws ReleaseError unusable_images
 */
export async function takeImages(from: string, to: string, registry: string | undefined): Promise<ReleasedImage[]> {
  const built = await readJson<BuiltImage[]>(join(from, "images.json"));
  const prefix = registry === undefined ? "" : `${registry}/`;
  const released: ReleasedImage[] = [];
  for (const { name } of IMAGES) {
    const original = `contrast/${name}:${VERSION}`;
    const image = built.find(({ reference }) => reference === original);
    if (image === undefined) throw unusable(`no ${original}`, from);
    const architectures = Object.keys(image.compressed);
    const bills = architectures.map((architecture) => `${name}.${architecture}.cdx.json`);
    for (const file of [name, ...bills]) await cp(join(from, file), join(to, file), { recursive: true });
    await checkLayout(join(to, name), image.digest);
    released.push({ name, original, pinned: `${prefix}${original}@${image.digest}`, architectures });
  }
  return released;
}

/** `generate --image-replacements` reads it. */
export function imageReplacements(images: readonly ReleasedImage[]): string {
  return images.map(({ original, pinned }) => `${original}=${pinned}\n`).join("");
}

/** Replaces the images in a file with Kubernetes resources, and nothing else of it. */
export function pinImages(text: string, images: readonly ReleasedImage[]): string {
  return text.replaceAll(
    /^( *(?:- )?(?:image|initializerImage|installerImage): )(\S+)$/gm,
    (line, key: string, reference: string) => {
      const image = images.find(({ original }) => original === reference);
      return image === undefined ? line : key + image.pinned;
    },
  );
}

/** OCI Image Layout 1.1: blobs go by their SHA-256, and index.json names the image's index. */
async function checkLayout(layout: string, digest: string): Promise<void> {
  const index = await readJson<{ manifests: readonly { digest: string }[] }>(join(layout, "index.json"));
  if (index.manifests.length !== 1 || index.manifests[0]?.digest !== digest) {
    throw unusable(`another image than ${digest}`, layout);
  }
  const blobs = join(layout, "blobs", "sha256");
  const names: string[] = await readdir(blobs).catch(() => []);
  if (!names.includes(digest.replace("sha256:", ""))) throw unusable(`no blob ${digest}`, layout);
  for (const name of names) {
    const got = sha256Hex(await readFile(join(blobs, name)));
    if (got !== name) throw unusable(`a blob with the digest ${got}`, join(blobs, name));
  }
}

async function readJson<T>(path: string): Promise<T> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as T;
  } catch (error) {
    throw unusable(error instanceof Error ? error.message : String(error), path, error);
  }
}

function unusable(got: string, where: string, cause?: unknown): ReleaseError {
  return new ReleaseError("unusable_images", "the images can't be released", {
    where,
    got,
    hint: "build them again: npm run images",
    cause,
  });
}
