import { hash } from "node:crypto";

/** Digests of content: `sha256:<64 hex>` or `sha512:<128 hex>` (OCI Image Specification, descriptor.md, "Digests"). */
const FORM = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export const DIGEST_FORM = "sha256: and 64 digits of lower-case hexadecimal, or sha512: and 128";

export function isDigest(text: string): boolean {
  return FORM.test(text);
}

/** @param of a digest, whose algorithm is used */
export function digestLike(of: string, bytes: Uint8Array): string {
  const algorithm = of.startsWith("sha512:") ? "sha512" : "sha256";
  return `${algorithm}:${hash(algorithm, bytes, "hex")}`;
}
