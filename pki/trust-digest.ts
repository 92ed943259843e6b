import { createHash } from "node:crypto";

/**
 * SHA-256 of what `mesh-ca.pem` has in it: by this the Coordinator and who stays compare what is trusted.
 *
 * @param cas PEM: the mesh CA in force, then those of before, the latest first
 */
export function trustDigest(cas: readonly string[]): Buffer {
  return createHash("sha256").update(cas.join("")).digest();
}
