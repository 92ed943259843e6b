import { createHash } from "node:crypto";

/**
 * The bytes that a workload owner signs to make a manifest the active one without showing the key to a connection:
 * "contrast-transition-v1" ‖ 0x00 ‖ SHA-256 of the manifest's bytes ‖ SHA-256 of the transition that it follows.
 *
 * The transition before it gives the signature one place in one history: it can't be used again, nor for another
 * deployment.
 *
 * @param previous SHA-256 of the latest transition, 32 bytes
 */
export function changeToSign(manifest: Uint8Array, previous: Uint8Array): Buffer {
  if (previous.length !== 32) throw new RangeError("a transition is named by 32 bytes");
  return Buffer.concat([DOMAIN, createHash("sha256").update(manifest).digest(), previous]);
}

const DOMAIN = Buffer.from("contrast-transition-v1\0");
