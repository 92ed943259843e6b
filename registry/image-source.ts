import type { ImageCache } from "./cache.ts";
import { parseConfig } from "./config.ts";
import { digestLike } from "./digest.ts";
import { type Manifest, parseManifest, unsupported } from "./manifest.ts";
import { ImageError } from "./problem.ts";
import { fullName, type ImageReference } from "./reference.ts";
import { Registry, type RegistryOptions } from "./registry.ts";
import type { ImageConfig, ResolvedImage } from "./resolved-image.ts";

/**
 * From a reference to the config of its image: tag, digest, index, manifest, config. After the tag each step names the
 * digest of the next, and no byte is used that does not have it; so it does not matter where the bytes come from.
 */

const MAX_CONFIG = 8 * 1024 * 1024;

export class ImageSource {
  readonly #cache: ImageCache;
  /** Undefined: nobody is asked. */
  readonly #online: RegistryOptions | undefined;
  readonly #registries = new Map<string, Registry>();
  readonly #digests = new Map<string, Promise<string>>();
  readonly #configs = new Map<string, Promise<ImageConfig>>();

  constructor(cache: ImageCache, online: RegistryOptions | undefined) {
    this.#cache = cache;
    this.#online = online;
  }

  /** @throws ImageError */
  async resolve(reference: ImageReference): Promise<ResolvedImage> {
    const name = fullName(reference);
    const digest = reference.digest ?? (await once(this.#digests, name, () => this.#digestOfTag(reference)));
    const pinned = { ...reference, digest };
    const config = await once(this.#configs, fullName(pinned), () => this.#config(pinned));
    // Kept only now: the cache never forgets an image for a newer one that it does not have whole.
    if (reference.digest === undefined && this.#online !== undefined) await this.#cache.writeTag(name, digest);
    return { digest, config };
  }

  async #digestOfTag(reference: ImageReference): Promise<string> {
    const registry = this.#registry(reference.registry);
    if (registry === undefined) return this.#digestBefore(fullName(reference));
    const { repository, tag } = reference;
    const told = await registry.digestOf(repository, tag);
    if (told !== undefined) return told;
    const bytes = await registry.manifest(repository, tag);
    const digest = digestLike("sha256", bytes);
    await this.#cache.write(digest, bytes);
    return digest;
  }

  async #digestBefore(name: string): Promise<string> {
    return (await this.#cache.readTag(name)) ?? refuse(`${name} is not there`);
  }

  async #config(reference: ImageReference & { readonly digest: string }): Promise<ImageConfig> {
    let manifest = await this.#manifest(reference, reference.digest, undefined);
    if (manifest.kind === "index") {
      const { digest, size } = manifest.manifest;
      manifest = await this.#manifest(reference, digest, size);
    }
    if (manifest.kind === "index") throw unsupported("an index inside of an index");
    const { digest, size } = manifest.config;
    if (size > MAX_CONFIG) throw ImageError.invalid(`a config of ${size} bytes`, `at most ${MAX_CONFIG} bytes`);
    const { repository } = reference;
    const bytes = await this.#content(reference, digest, size, (registry) => registry.blob(repository, digest, size));
    return parseConfig(bytes, `the config of ${reference.registry}/${repository}`);
  }

  async #manifest(reference: ImageReference, digest: string, size: number | undefined): Promise<Manifest> {
    const { registry, repository } = reference;
    const bytes = await this.#content(reference, digest, size, (from) => from.manifest(repository, digest));
    return parseManifest(bytes, `the manifest of ${registry}/${repository}`);
  }

  async #content(
    { registry: host }: ImageReference,
    digest: string,
    size: number | undefined,
    ask: (registry: Registry) => Promise<Buffer>,
  ): Promise<Buffer> {
    const known = await this.#cache.read(digest);
    const bytes = Buffer.isBuffer(known) ? known : await this.#fetch(host, digest, known?.damaged, ask);
    if (size !== undefined && bytes.length !== size) {
      throw ImageError.invalid(
        `${bytes.length} bytes of ${digest} from ${host}`,
        `${size} bytes, as its manifest says`,
      );
    }
    return bytes;
  }

  async #fetch(
    host: string,
    digest: string,
    damaged: string | undefined,
    ask: (registry: Registry) => Promise<Buffer>,
  ): Promise<Buffer> {
    const registry = this.#registry(host);
    if (registry === undefined) {
      return refuse(damaged === undefined ? `${digest} is not there` : `the bytes of ${damaged} are damaged`);
    }
    const bytes = await ask(registry);
    const actual = digestLike(digest, bytes);
    if (actual !== digest) throw ImageError.invalid(`content of digest ${actual} from ${host}`, digest);
    await this.#cache.write(digest, bytes);
    return bytes;
  }

  #registry(host: string): Registry | undefined {
    if (this.#online === undefined) return undefined;
    const registry = this.#registries.get(host) ?? new Registry(host, this.#online);
    this.#registries.set(host, registry);
    return registry;
  }
}

/** Whoever asks for the same thing meanwhile, or later, gets the same answer. */
function once<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const made = make();
  known.set(key, made);
  return made;
}

function refuse(got: string): never {
  throw new ImageError("not_cached", got, "an image in the cache", "run it once without --offline");
}
