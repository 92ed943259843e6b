import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { VERSION } from "../runtime/version.ts";
import type { Architecture } from "./architecture.ts";
import { BuildContext, type EngineParts } from "./build-context.ts";
import { Buildah } from "./buildah.ts";
import type { Image } from "./catalog.ts";
import { buildEngine, engineSource, requireEngineTools } from "./engine/build.ts";
import { writeEnginePackage } from "./engine/package.ts";
import { readManifests } from "./oci-layout.ts";
import { recompress, type Recompressed } from "./recompress.ts";
import { engineBill } from "./sbom.ts";

export interface BuildOptions {
  /** The checkout, with dist/. */
  readonly root: string;
  /** A folder for what is only needed meanwhile: some 3 GB. */
  readonly work: string;
  readonly out: string;
  readonly images: readonly Image[];
  readonly architectures: readonly Architecture[];
  /** A folder with a guest image for Kata; undefined: the node installer has none, and installs no runtime of Kata's. */
  readonly guest?: string | undefined;
  /** Undefined: one is made from Debian's packages. */
  readonly base?: string | undefined;
  /** Whether the engine of this machine gets those of its architecture. */
  readonly load?: boolean;
  readonly stop?: AbortSignal;
  readonly talk: (line: string) => void;
}

export interface BuiltImage {
  /** `contrast/<name>:<version>`. */
  readonly reference: string;
  /** Of the index of all architectures: `sha256:<64 hex>`. */
  readonly digest: string;
  /** Bytes of the layers as a registry has them, by architecture. */
  readonly compressed: Readonly<Record<string, number>>;
}

/** The folder of `out` with the packages of the native engine. */
export const ENGINES = "engines";

/**
 * Builds images into `out`, each as an OCI image layout, and beside it one bill of materials for each architecture. Where
 * an image has the native engine, its package for npm is in `out/engines/linux-<cpu>-gnu/`, with a bill of its own.
 */
export async function buildImages(options: BuildOptions): Promise<BuiltImage[]> {
  const { root, work, out, images, architectures, talk, stop } = options;
  const buildah = new Buildah(join(work, "storage"), { stop });
  const names = new Map<Image, string[]>(images.map((image) => [image, []]));
  const takesEngine = images.some((image) => image.takesEngine === true);
  await mkdir(out, { recursive: true });
  try {
    // Before what takes minutes.
    if (takesEngine) for (const architecture of architectures) await requireEngineTools(architecture, { stop });
    for (const architecture of architectures) {
      talk(`${architecture.oci}: Debian's packages and Node`);
      const context = new BuildContext(root, join(work, architecture.oci), architecture, { stop });
      await context.prepare();
      const engine = takesEngine ? await makeEngine(context, architecture, options) : undefined;
      const containerfile = (name: string): string => join(root, "images", name, "Containerfile");
      const base = options.base ?? (await buildah.buildBase(containerfile("base"), context.directory, architecture));
      const node = await buildah.buildNode(containerfile("node"), context.directory, architecture, base);
      for (const image of images) {
        talk(`${architecture.oci}: ${image.name}`);
        const bill = await context.add(image, { guest: options.guest, engine });
        await writeFile(
          join(out, `${image.name}.${architecture.oci}.cdx.json`),
          `${JSON.stringify(bill, undefined, 2)}\n`,
        );
        const name = await buildah.build(image, containerfile(image.name), context.directory, architecture, node);
        names.get(image)?.push(name);
        if (options.load === true && architecture.npm === process.arch) {
          await buildah.load(name, `contrast/${image.name}:${VERSION}`);
        }
      }
      await rm(join(work, architecture.oci), { recursive: true, force: true });
    }
    const built: BuiltImage[] = [];
    const layers = new Map<string, Recompressed>();
    for (const [image, all] of names) {
      const layout = join(out, image.name);
      await buildah.writeIndex(image, all, layout);
      const digest = await recompress(layout, layers, { stop });
      built.push({ reference: `contrast/${image.name}:${VERSION}`, digest, compressed: await sizes(layout, digest) });
    }
    await writeFile(join(out, "images.json"), `${JSON.stringify(built, undefined, 2)}\n`);
    return built;
  } finally {
    await buildah.close();
  }
}

async function makeEngine(
  context: BuildContext,
  architecture: Architecture,
  { root, out, talk, stop }: BuildOptions,
): Promise<EngineParts> {
  talk(`${architecture.oci}: the native engine`);
  const built = await buildEngine(engineSource(root), architecture, { stop });
  await context.requireFit(built);
  const folder = join(out, ENGINES, `linux-${architecture.npm}-gnu`);
  await rm(folder, { recursive: true, force: true });
  const name = await writeEnginePackage(root, architecture, built, folder);
  await writeFile(`${folder}.cdx.json`, `${JSON.stringify(engineBill(name, built), undefined, 2)}\n`);
  return { built, folder, name };
}

/** What a registry would send of each architecture. */
async function sizes(layout: string, digest: string): Promise<Record<string, number>> {
  const manifests = await readManifests(layout, digest);
  return Object.fromEntries(
    manifests.map(({ architecture, layers }) => [architecture, layers.reduce((sum, { size }) => sum + size, 0)]),
  );
}
