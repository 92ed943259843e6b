import { concat, fromUtf8 } from "../bytes/encode.ts";
import { digest } from "../crypto/node.ts";

/**
 * The bytes that a workload owner signs to make a manifest the active one:
 * "contrast-transition-v2" ‖ 0x00 ‖ SHA-256 of the manifest's bytes ‖ SHA-256 of the transition that it follows
 * ‖ SHA-256 of the SubjectPublicKeyInfo of the mesh CA.
 *
 * The transition before it gives the signature one place in one history: it can't be used again, nor for another
 * deployment. The key of the mesh CA gives it one Coordinator: two that were recovered from one state share seed and
 * history, and each has made a mesh CA of its own.
 *
 * A change that makes a new seed is signed in another domain, and with the root CA key that the new seed gives:
 * "contrast-rekey-v1" ‖ 0x00 ‖ the same three ‖ SHA-256 of the SubjectPublicKeyInfo of the new root CA.
 * So whoever has the old seed can't put a root CA key of his own under what owners signed, nor the other way round.
 *
 * An amendment keeps manifest, seed and mesh CA, and puts another annex (annex.ts) in force. It is signed in a third domain:
 * "contrast-amendment-v1" ‖ 0x00 ‖ the same three, of the manifest in force ‖ SHA-256 of the annex.
 */
export interface Change {
  /** The bytes of the new manifest. */
  readonly manifest: Uint8Array;
  /** SHA-256 of the latest transition: what the change follows. 32 bytes. */
  readonly previous: Uint8Array;
  /** SHA-256 of the SubjectPublicKeyInfo of the mesh CA of the generation that the change ends. 32 bytes. */
  readonly meshKey: Uint8Array;
  /** SHA-256 of the SubjectPublicKeyInfo of the new root CA, 32 bytes; undefined: the seed stays. */
  readonly newRootKey?: Uint8Array | undefined;
  /** SHA-256 of the annex of an amendment, 32 bytes; undefined: the change is none. A rekey is none. */
  readonly annex?: Uint8Array | undefined;
}

/** The same, where only the SHA-256 of the manifest is there yet. 32 bytes. */
export interface ChangeAhead extends Omit<Change, "manifest"> {
  readonly manifestDigest: Uint8Array;
}

export function changeToSign(change: Change | ChangeAhead): Uint8Array {
  const { previous, meshKey, newRootKey, annex } = change;
  if (newRootKey !== undefined && annex !== undefined) throw new RangeError("an amendment makes no new seed");
  const manifest = "manifest" in change ? digest("sha256", change.manifest) : change.manifestDigest;
  const digests = [manifest, previous, meshKey, newRootKey, annex].filter((part) => part !== undefined);
  if (digests.some(({ length }) => length !== 32)) {
    throw new RangeError("manifests, transitions, keys and annexes are named by 32 bytes");
  }
  const domain = annex === undefined ? (newRootKey === undefined ? DOMAIN : REKEY_DOMAIN) : AMENDMENT_DOMAIN;
  return concat(domain, ...digests);
}

const DOMAIN = fromUtf8("contrast-transition-v2\0");
const REKEY_DOMAIN = fromUtf8("contrast-rekey-v1\0");
const AMENDMENT_DOMAIN = fromUtf8("contrast-amendment-v1\0");
