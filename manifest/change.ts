import { createHash } from "node:crypto";

/**
 * The bytes that a workload owner signs to make a manifest the active one:
 * "contrast-transition-v2" ‖ 0x00 ‖ SHA-256 of the manifest's bytes ‖ SHA-256 of the transition that it follows
 * ‖ SHA-256 of the SubjectPublicKeyInfo of the mesh CA.
 *
 * The transition before it gives the signature one place in one history: it can't be used again, nor for another
 * deployment. The key of the mesh CA gives it one Coordinator: two that were recovered from one state share seed and
 * history, and each has made a mesh CA of its own.
 */
export interface Change {
  /** The bytes of the new manifest. */
  readonly manifest: Uint8Array;
  /** SHA-256 of the latest transition: what the change follows. 32 bytes. */
  readonly previous: Uint8Array;
  /** SHA-256 of the SubjectPublicKeyInfo of the mesh CA of the generation that the change ends. 32 bytes. */
  readonly meshKey: Uint8Array;
}

/** The same, where only the SHA-256 of the manifest is there yet. 32 bytes. */
export interface ChangeAhead extends Omit<Change, "manifest"> {
  readonly manifestDigest: Uint8Array;
}

export function changeToSign(change: Change | ChangeAhead): Buffer {
  const { previous, meshKey } = change;
  const manifest = "manifest" in change ? createHash("sha256").update(change.manifest).digest() : change.manifestDigest;
  for (const digest of [manifest, previous, meshKey]) {
    if (digest.length !== 32) throw new RangeError("manifests, transitions and keys are named by 32 bytes");
  }
  return Buffer.concat([DOMAIN, manifest, previous, meshKey]);
}

const DOMAIN = Buffer.from("contrast-transition-v2\0");
