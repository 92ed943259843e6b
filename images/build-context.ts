import { chmod, cp, lstat, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Architecture } from "./architecture.ts";
import { bundle, copyNative, describePackages } from "./bundle.ts";
import { BASE_PACKAGES, type Image } from "./catalog.ts";
import { copyKept, type DebianPackage, exists, unpackDebian, writeAccounts } from "./debian.ts";
import type { BuiltEngine } from "./engine/build.ts";
import { requireFit } from "./engine/fitness.ts";
import { nodePackage } from "./node-release.ts";
import { lockedPackage, packageCache, unpackPackage } from "./npm-package.ts";
import { run, type RunOptions } from "./run.ts";
import { bill, type Bill } from "./sbom.ts";

/** What only some images take. */
export interface Parts {
  /** A folder with a guest image, as `npm run guest-image` makes it. */
  readonly guest?: string | undefined;
  readonly engine?: EngineParts | undefined;
}

/** The native engine, and the folder of its package. */
export interface EngineParts {
  readonly built: BuiltEngine;
  readonly folder: string;
  readonly name: string;
}

/**
 * The folders that the Containerfiles copy from. They hold the same bytes and modes wherever and whenever they are made
 * of the same sources and packages; the times are left to buildah.
 *
 *     base/               the base image, from Debian
 *     node                the binary
 *     <image>/packages/   what the image needs of Debian beside the base
 *     <image>/app/        /opt/contrast
 *     <image>/volumes/    empty folders, which belong to the plain user
 *     <image>/guest/      the guest image for Kata, where the image takes one and one was given
 */
export class BuildContext {
  readonly directory: string;
  readonly #root: string;
  readonly #scratch: string;
  readonly #cache: string;
  readonly #architecture: Architecture;
  readonly #options: RunOptions;
  #base: readonly DebianPackage[] = [];

  /** @param root of the checkout, with dist/ @param work a folder for this architecture */
  constructor(root: string, work: string, architecture: Architecture, options: RunOptions) {
    this.#root = root;
    this.directory = join(work, "context");
    this.#scratch = join(work, "scratch");
    this.#cache = packageCache(root);
    this.#architecture = architecture;
    this.#options = options;
  }

  /** What all images share. @throws ImageError */
  async prepare(): Promise<void> {
    const base = join(this.directory, "base");
    await unpackDebian(BASE_PACKAGES, this.#architecture, join(this.#scratch, "base"), this.#options);
    this.#base = await copyKept(join(this.#scratch, "base"), base);
    await writeAccounts(base);
    await this.#node();
    await normalize(this.directory);
  }

  /** @throws ImageError where the base can't load it */
  async requireFit({ file }: BuiltEngine): Promise<void> {
    const libc = this.#base.find(({ name }) => name === "libc6")?.version ?? "";
    await requireFit(file, this.#architecture, libc, this.#options);
  }

  /**
   * @param parts what only some images take
   * @returns what is in the image, the base included
   * @throws ImageError
   */
  async add(image: Image, { guest, engine }: Parts = {}): Promise<Bill> {
    const { npm } = this.#architecture;
    const packages = join(this.directory, image.name, "packages");
    const app = join(this.directory, image.name, "app");
    const unpacked = join(this.#scratch, image.packages.join("-"));
    if (!(await exists(unpacked))) {
      await unpackDebian([...BASE_PACKAGES, ...image.packages], this.#architecture, unpacked, this.#options);
    }
    const debian = await copyKept(unpacked, packages, join(this.#scratch, "base"));

    const bundled = await bundle(this.#root, image.programs, app);
    await writeFile(join(app, "package.json"), '{ "type": "module" }\n');
    const native = await copyNative(this.#root, app);
    const name = `@koromix/koffi-linux-${npm}`;
    const pinned = await lockedPackage(this.#root, name);
    const folder = await unpackPackage(pinned, this.#cache, join(this.#scratch, "koffi"), this.#options);
    for (const path of ["package.json", "index.js", `linux_${npm}`]) {
      await cp(join(folder, path), join(app, "node_modules", name, path), { recursive: true });
    }
    native.push(...(await describePackages([folder])));
    if (image.takesEngine === true && engine !== undefined) {
      for (const path of ["package.json", "engine.node"]) {
        await cp(join(engine.folder, path), join(app, "node_modules", engine.name, path));
      }
      await cp(join(engine.folder, "licenses"), join(app, "licenses", "crates"), { recursive: true });
    }
    await this.#licenses(
      [...bundled, ...native].map((it) => it.name),
      app,
    );
    if (image.takesGuest === true) {
      const target = join(this.directory, image.name, "guest");
      await mkdir(target, { recursive: true });
      if (guest !== undefined) await cp(guest, target, { recursive: true });
    }
    const volumes = join(this.directory, image.name, "volumes");
    // With the folders that they are in, whose modes must not be of this process's umask.
    for (const path of ["", ...Object.keys(image.volumes)]) await mkdir(join(volumes, path), { recursive: true });
    await normalize(join(this.directory, image.name));
    for (const [path, mode] of Object.entries(image.volumes)) await chmod(join(volumes, path), mode);
    return bill(image, this.#architecture, {
      debian: [...this.#base, ...debian],
      npm: [...bundled, ...native],
      engine: image.takesEngine === true ? engine?.built : undefined,
    });
  }

  async #node(): Promise<void> {
    const { npm, tuple } = this.#architecture;
    const folder = await unpackPackage(nodePackage(npm), this.#cache, join(this.#scratch, "node"), this.#options);
    const binary = join(this.directory, "node");
    await cp(join(folder, "bin/node"), binary);
    // Symbols for debuggers are a fifth of it.
    await run(npm === process.arch ? "strip" : `${tuple}-strip`, ["-s", binary], this.#options);
    await cp(join(folder, "LICENSE"), join(this.directory, "node.LICENSE"));
  }

  /** The licences of what was bundled go with it. */
  async #licenses(packages: readonly string[], app: string): Promise<void> {
    const licenses = join(app, "licenses");
    await mkdir(licenses, { recursive: true });
    await cp(join(this.#root, "LICENSE"), join(licenses, "contrast"));
    await cp(join(this.directory, "node.LICENSE"), join(licenses, "node"));
    for (const name of packages) {
      const folder = join(this.#root, "node_modules", name);
      const file = (await readdir(folder).catch(() => [])).find((entry) => /^licen[cs]e/i.test(entry));
      if (file !== undefined) await cp(join(folder, file), join(licenses, name.replaceAll("/", "-")));
    }
  }
}

/** What may be run stays so; the rest is for reading. */
async function normalize(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isSymbolicLink()) continue;
    const file = join(entry.parentPath, entry.name);
    const isRun = entry.isDirectory() || ((await lstat(file)).mode & 0o100) !== 0;
    await chmod(file, isRun ? 0o755 : 0o644);
  }
}
