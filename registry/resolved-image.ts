/** What a registry says about an image, as far as it decides what runs in a container. */
export interface ResolvedImage {
  /** `sha256:<64 hex>` of the manifest, or of the index, that the reference names: what an image is pinned by. */
  readonly digest: string;
  readonly config: ImageConfig;
}

/** The `config` of an image (OCI Image Specification, config.md, "Properties"); what is absent there is empty here. */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  /** Absolute; empty: `/`. */
  readonly workingDir: string;
  /** `user`, `uid`, `user:group` …; empty: 0. */
  readonly user: string;
  /** Paths at which the image wants a volume, sorted. */
  readonly volumes: readonly string[];
}

/** By the reference as it stands in the resource. */
export type ResolvedImages = ReadonlyMap<string, ResolvedImage>;
