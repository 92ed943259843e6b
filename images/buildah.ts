import { rm } from "node:fs/promises";
import { join } from "node:path";
import { VERSION } from "../runtime/version.ts";
import type { Architecture } from "./architecture.ts";
import type { Image } from "./catalog.ts";
import { run, type RunOptions } from "./run.ts";

/** Builds images with buildah, without an engine, in a storage of its own that goes when it is closed. */
export class Buildah {
  readonly #global: readonly string[];
  readonly #storage: string;
  readonly #options: RunOptions;

  /** @param storage a folder that is not there yet */
  constructor(storage: string, options: RunOptions) {
    this.#storage = storage;
    // vfs copies, and leaves no mounts behind whatever happens.
    this.#global = ["--root", join(storage, "root"), "--runroot", join(storage, "run"), "--storage-driver", "vfs"];
    this.#options = options;
  }

  /** Debian's libraries. @returns its name @throws ImageError */
  async buildBase(containerfile: string, context: string, architecture: Architecture): Promise<string> {
    const name = `localhost/contrast/base:${architecture.oci}`;
    await this.#build(name, containerfile, context, architecture, []);
    return name;
  }

  /** The base with Node, on which the others are built. @returns its name @throws ImageError */
  async buildNode(containerfile: string, context: string, architecture: Architecture, base: string): Promise<string> {
    const name = `localhost/contrast/node:${architecture.oci}`;
    await this.#build(name, containerfile, context, architecture, ["--build-arg", `BASE=${base}`]);
    return name;
  }

  /** @returns its name @throws ImageError */
  async build(
    image: Image,
    containerfile: string,
    context: string,
    architecture: Architecture,
    base: string,
  ): Promise<string> {
    const name = `localhost/contrast/${image.name}:${architecture.oci}`;
    const labels = { title: image.title, description: image.description, version: VERSION, licenses: "Apache-2.0" };
    await this.#build(name, containerfile, context, architecture, [
      "--build-arg",
      `BASE=${base}`,
      ...Object.entries(labels).flatMap(([key, value]) => ["--label", `org.opencontainers.image.${key}=${value}`]),
    ]);
    return name;
  }

  async #build(name: string, file: string, context: string, { oci }: Architecture, args: string[]): Promise<void> {
    await run(
      "buildah",
      [
        ...this.#global,
        "build",
        "--quiet",
        // Nothing is run, so nothing has to be isolated.
        "--isolation=chroot",
        "--arch",
        oci,
        "--format=oci",
        // All times are 1970, and one layer for each file of instructions: the digest depends on the contents alone.
        "--timestamp=0",
        "--layers=false",
        "--identity-label=false",
        ...args,
        "--file",
        file,
        "--tag",
        name,
        context,
      ],
      this.#options,
    );
  }

  /** Writes one image for all architectures, as an OCI image layout. */
  async writeIndex(image: Image, names: readonly string[], layout: string): Promise<void> {
    const list = `localhost/contrast/${image.name}:${VERSION}`;
    await run("buildah", [...this.#global, "manifest", "create", list], this.#options);
    for (const name of names) {
      await run("buildah", [...this.#global, "manifest", "add", list, `containers-storage:${name}`], this.#options);
    }
    await rm(layout, { recursive: true, force: true });
    await run(
      "buildah",
      [...this.#global, "manifest", "push", "--quiet", "--all", "--format=oci", list, `oci:${layout}:${VERSION}`],
      this.#options,
    );
  }

  /** Hands an image to the Docker engine that this machine's `docker` talks to. @throws ImageError */
  async load(name: string, reference: string): Promise<void> {
    const archive = join(this.#storage, "docker.tar");
    // By its identity: by its name it would have that name there, too.
    const id = (await run("buildah", [...this.#global, "images", "--quiet", "--no-trunc", name], this.#options)).trim();
    await run(
      "buildah",
      [...this.#global, "push", "--quiet", id, `docker-archive:${archive}:${reference}`],
      this.#options,
    );
    await run("docker", ["load", "--quiet", "--input", archive], this.#options);
    await rm(archive);
  }

  async close(): Promise<void> {
    await rm(this.#storage, { recursive: true, force: true });
  }
}
