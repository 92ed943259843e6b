import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { VERSION } from "../runtime/version.ts";
import { sectionOf } from "./changelog.ts";
import { checksums } from "./checksums.ts";
import { ReleaseError } from "./error.ts";
import { imageReplacements, pinImages, type ReleasedImage, takeImages } from "./images.ts";
import { packageBill, packNpm } from "./npm-package.ts";

export interface PrepareOptions {
  readonly root: string;
  /** A folder for what is only needed meanwhile. */
  readonly work: string;
  /** The folder of the release: not there yet, or empty. */
  readonly out: string;
  /** What images/program.ts wrote. */
  readonly images: string;
  /** Where the images will be, like `ghcr.io/example`. */
  readonly registry: string | undefined;
}

export interface Prepared {
  readonly tarball: string;
  readonly images: readonly ReleasedImage[];
}

/** The folders whose resources people apply, without what is not for Kubernetes. */
const RESOURCES = { deploy: "deploy", "demo/deployment": "demo" };

/**
 * Writes everything that a release consists of. The same sources and images give the same bytes.
 *
 * @throws ReleaseError, ImageError
 */
export async function prepare({ root, work, out, images: from, registry }: PrepareOptions): Promise<Prepared> {
  await mkdir(out, { recursive: true });
  if ((await readdir(out)).length > 0) {
    throw new ReleaseError("output_exists", "the folder of the release is not empty", { where: out });
  }
  const images = await takeImages(from, join(out, "images"), registry);
  const tarball = await packNpm(root, work, out, images);
  const write = async (name: string, text: string): Promise<void> => writeFile(join(out, name), text);
  await write(`contrast-${VERSION}.cdx.json`, `${JSON.stringify(await packageBill(root), undefined, 2)}\n`);
  await write("image-replacements.txt", imageReplacements(images));
  const changes = sectionOf(await readFile(join(root, "CHANGELOG.md"), "utf8"), VERSION);
  await write("release-notes.md", `${changes ?? ""}\n`);
  for (const [folder, name] of Object.entries(RESOURCES)) {
    await mkdir(join(out, name));
    for (const file of await readdir(join(root, folder))) {
      if (!/\.ya?ml$/.test(file) || file === "compose.yml") continue;
      await write(join(name, file), pinImages(await readFile(join(root, folder, file), "utf8"), images));
    }
  }
  await write("SHA256SUMS", await checksums(out));
  return { tarball, images };
}
