import { createHash } from "node:crypto";

/** For tests: images, byte for byte as a registry has them. */

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";

export interface Content {
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly digest: string;
}

export interface TestImage {
  readonly manifest: Content;
  readonly config: Content;
}

export function digest(bytes: string | Buffer, algorithm: "sha256" | "sha512" = "sha256"): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

export function content(mediaType: string, document: unknown): Content {
  const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
  return { mediaType, bytes, digest: digest(bytes) };
}

export function descriptor({ mediaType, bytes, digest }: Content): object {
  return { mediaType, digest, size: bytes.length };
}

/** Of the Dockerfile `ENTRYPOINT ["/app"]`, `CMD ["serve"]` and so on; `config` replaces some of it. */
export function makeImage(config: object = {}, platform: object = { os: "linux", architecture: "amd64" }): TestImage {
  const made = content(OCI_CONFIG, {
    ...platform,
    config: {
      Entrypoint: ["/app"],
      Cmd: ["serve"],
      Env: ["PATH=/bin"],
      WorkingDir: "/srv",
      User: "1000:1000",
      Volumes: { "/var/b": {}, "/var/a": {} },
      ...config,
    },
    rootfs: { type: "layers", diff_ids: [] },
  });
  return { config: made, manifest: manifestOf(descriptor(made)) };
}

export function manifestOf(config: object, type = OCI_MANIFEST): Content {
  return content(type, { schemaVersion: 2, mediaType: type, config, layers: [] });
}

export function makeIndex(
  ...entries: readonly { readonly content: Content; readonly platform?: object | undefined }[]
): Content {
  const manifests = entries.map(({ content, platform }) => ({ ...descriptor(content), platform }));
  return content(OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests });
}

/** What `resolveImages` makes of `makeImage()`. */
export const RESOLVED_CONFIG = {
  entrypoint: ["/app"],
  cmd: ["serve"],
  env: ["PATH=/bin"],
  workingDir: "/srv",
  user: "1000:1000",
  volumes: ["/var/a", "/var/b"],
};
