import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { architecture } from "../images/architecture.ts";
import { VERSION } from "../runtime/version.ts";
import { sectionOf } from "./changelog.ts";
import { checksums } from "./checksums.ts";
import { packEngines, type PackedEngine } from "./engines.ts";
import { ReleaseError } from "./error.ts";
import { buildExecutables } from "./executable/build.ts";
import { imageReplacements, pinImages, type ReleasedImage, takeImages } from "./images.ts";
import { vanilla } from "./vanilla.ts";
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
  /** When the programs were built, as they are to know it; undefined: nobody knows. */
  readonly built: Date | undefined;
}

export interface Prepared {
  readonly tarball: string;
  readonly engines: readonly PackedEngine[];
  readonly images: readonly ReleasedImage[];
  /** The names of the files with the command line. */
  readonly executables: readonly string[];
}

/** The folders whose resources people apply, without what is not for Kubernetes. */
const RESOURCES = { deploy: "", "demo/deployment": "demo" };

/** Of these consists the demo without Contrast. */
const DEMO_APPS = ["emoji.yml", "voting.yml", "web.yml", "vote-bot.yml"];

/**
 * Writes everything that a release consists of. The same sources and images give the same bytes.
 *
 * @throws ReleaseError, ImageError
 */
export async function prepare({ root, work, out, images: from, registry, built }: PrepareOptions): Promise<Prepared> {
  await mkdir(out, { recursive: true });
  if ((await readdir(out)).length > 0) {
    throw new ReleaseError("output_exists", "the folder of the release is not empty", { where: out });
  }
  const images = await takeImages(from, join(out, "images"), registry);
  const engines = await packEngines(root, from, join(work, "engines"), out);
  const tarball = await packNpm(root, join(work, "package"), out, images, engines, built);
  const write = async (name: string, text: string): Promise<void> => writeFile(join(out, name), text);
  const architectures = new Set(images.flatMap((image) => image.architectures));
  const executables = await buildExecutables({
    root,
    dist: join(work, "package", "dist"),
    work: join(work, "executables"),
    out,
    architectures: [...architectures].map(architecture),
  });
  await copyFile(join(work, "package", "dist", "verifier", "index.html"), join(out, "contrast-verify.html"));
  const bill = await packageBill(root, engines);
  await write(tarball.replace(/\.tgz$/, ".cdx.json"), `${JSON.stringify(bill, undefined, 2)}\n`);
  await write("image-replacements.txt", imageReplacements(images));
  const changes = sectionOf(await readFile(join(root, "CHANGELOG.md"), "utf8"), VERSION);
  await write("release-notes.md", `${changes ?? ""}\n`);
  for (const [folder, name] of Object.entries(RESOURCES)) {
    for (const file of await readdir(join(root, folder), { recursive: true })) {
      // A chart is everything that is in its folder.
      const isApplied = /\.ya?ml$/.test(file) && file !== "compose.yml";
      const isOfChart = /^helm[/].*[.]/.test(file);
      if (!isApplied && !isOfChart) continue;
      await mkdir(join(out, name, dirname(file)), { recursive: true });
      await write(join(name, file), pinImages(await readFile(join(root, folder, file), "utf8"), images));
    }
  }
  const apps = await Promise.all(
    DEMO_APPS.map(async (name) => readFile(join(root, "demo", "deployment", name), "utf8")),
  );
  await write("emojivoto-demo.yml", pinImages(vanilla(apps), images));
  await write("SHA256SUMS", await checksums(out));
  return { tarball, engines, images, executables };
}
