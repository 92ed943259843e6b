import type { SnpProduct } from "./product.ts";

/**
 * The roots that a chain may end in, pinned by the key: lower-case hex of the SHA-256 of the ARK's
 * SubjectPublicKeyInfo. A vendor's root vouches for its own product only. A simulated root is one of a software TEE.
 */
export type TrustAnchors = ReadonlyMap<string, TrustAnchor>;
type TrustAnchor = { readonly simulated: false; readonly product: SnpProduct } | { readonly simulated: true };

/** AMD's root keys, from https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain (the VLEK chains have the same). */
export const AMD_ROOTS: TrustAnchors = new Map([
  ["9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9", { simulated: false, product: "Milan" }],
  ["429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831", { simulated: false, product: "Genoa" }],
  ["4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08", { simulated: false, product: "Turin" }],
]);

/** The roots of software TEEs, and no others. Naming a key of AMD's as simulated does not make it so. */
export function simulatedRoots(digests: readonly string[]): TrustAnchors {
  return new Map(digests.filter((digest) => !AMD_ROOTS.has(digest)).map((digest) => [digest, { simulated: true }]));
}
