import { z } from "zod";
import { quote } from "../runtime/fault.ts";
import { DIGEST_FORM, isDigest } from "./digest.ts";
import { parseJson } from "./json.ts";
import { ImageError } from "./problem.ts";

/**
 * Manifests and indexes of images: OCI Image Specification 1.1 (manifest.md, image-index.md) and Docker's Image Manifest
 * version 2, schema 2, which differ in their media types alone.
 *
 * What a document is follows from its fields. One that could be read as both kinds is refused, or another client could
 * take the same digest for another image (CVE-2021-41190).
 */

const MANIFEST: readonly string[] = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
const INDEX: readonly string[] = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
];
export const MANIFEST_TYPES: readonly string[] = [...MANIFEST, ...INDEX];
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;
const CONFIG = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/;

/** SNP and TDX are x86-64. */
export const PLATFORM = { os: "linux", architecture: "amd64" } as const;
const WANTED = "an image for linux/amd64";

/** Where content is, and what it has to be. */
export interface Descriptor {
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
}

export type Manifest =
  /** Of an image: where its config is. */
  | { readonly kind: "manifest"; readonly config: Descriptor }
  /** Of one name for several platforms: where the image for ours is. */
  | { readonly kind: "index"; readonly manifest: Descriptor };

const DESCRIPTOR = z.object({
  mediaType: z.string(),
  digest: z.string().refine(isDigest, DIGEST_FORM),
  size: z.int().nonnegative(),
});
const DOCUMENT = z.object({
  schemaVersion: z.number(),
  mediaType: z.string().optional(),
  config: DESCRIPTOR.optional(),
  layers: z.array(z.unknown()).optional(),
  manifests: z
    .array(
      DESCRIPTOR.extend({
        platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
      }),
    )
    .optional(),
});

/** @throws ImageError invalid_answer, unsupported_image */
export function parseManifest(bytes: Uint8Array, what: string): Manifest {
  const { schemaVersion, mediaType, config, layers, manifests } = parseJson(bytes, DOCUMENT, what);
  if (schemaVersion === 1) throw schema1();
  if (schemaVersion !== 2) throw ImageError.invalid(`schemaVersion ${schemaVersion} of ${what}`, "schemaVersion 2");
  const types = manifests === undefined ? MANIFEST : INDEX;
  if (mediaType !== undefined && !types.includes(mediaType)) {
    throw ImageError.invalid(`media type ${quote(mediaType)} of ${what}`, types.join(" or "));
  }
  if (manifests !== undefined) {
    if (config !== undefined || layers !== undefined) {
      throw ImageError.invalid(`${what} is an index and a manifest at once`, "one of the two");
    }
    return { kind: "index", manifest: choose(manifests) };
  }
  if (config === undefined) throw ImageError.invalid(`${what} is neither an index nor a manifest`, "one of the two");
  if (!CONFIG.test(config.mediaType)) {
    throw unsupported(`${quote(config.mediaType)}, which is no container`);
  }
  return { kind: "manifest", config };
}

/** @throws ImageError where an answer is no manifest by its Content-Type */
export function refuseType(contentType: string, host: string): void {
  const type = contentType.split(";", 1).join().trim().toLowerCase();
  if (SCHEMA_1.test(type)) throw schema1();
  if (!MANIFEST_TYPES.includes(type)) {
    throw ImageError.invalid(`content type ${quote(contentType)} from ${host}`, "a manifest or an index of an image");
  }
}

export function unsupported(got: string): ImageError {
  return new ImageError("unsupported_image", got, WANTED, "use another image, or another version of it");
}

/** As containerd on such a node: the first that fits. `v1` is what amd64 is without a variant. */
function choose(
  manifests: readonly (Descriptor & {
    readonly platform?:
      { readonly os: string; readonly architecture: string; readonly variant?: string | undefined } | undefined;
  })[],
): Descriptor {
  const found = manifests.find(
    ({ platform }) =>
      platform?.os === PLATFORM.os &&
      platform.architecture === PLATFORM.architecture &&
      ["", "v1"].includes(platform.variant ?? ""),
  );
  if (found !== undefined) return found;
  const platforms = manifests.flatMap(({ platform }) => (platform ? [`${platform.os}/${platform.architecture}`] : []));
  throw unsupported(platforms.length === 0 ? "an index without platforms" : `only ${quote(platforms.join(", "))}`);
}

function schema1(): ImageError {
  return unsupported("a manifest of schema 1, which clusters don't run any more");
}
