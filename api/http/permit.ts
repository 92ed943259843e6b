import { fromBase64, toBase64, toHex } from "../../bytes/encode.ts";
import { fromHex } from "../../bytes/hex.ts";

/** The header that goes ahead of `POST /v1/set` and says why its body should be read: a few hundred bytes. */
export const PERMIT_HEADER = "contrast-permit";

export interface Permit {
  /** SHA-256 of the manifest, 32 bytes. */
  readonly manifestDigest: Uint8Array;
  /** Of one of the owners who signed the change. */
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

/** Three words, each for one of them: hexadecimal, base64, base64. */
export function encodePermit({ manifestDigest, publicKey, signature }: Permit): string {
  return [toHex(manifestDigest), toBase64(publicKey), toBase64(signature)].join(" ");
}

/** @returns undefined where it is none */
export function parsePermit(text: string): Permit | undefined {
  const [digest = "", key = "", signed = "", ...more] = text.split(" ");
  const manifestDigest = /^[0-9a-f]{64}$/.test(digest) ? fromHex(digest, 32) : undefined;
  const publicKey = fromBase64(key);
  const signature = fromBase64(signed);
  if (manifestDigest === undefined || publicKey === undefined || signature === undefined) return undefined;
  return more.length > 0 || key === "" || signed === "" ? undefined : { manifestDigest, publicKey, signature };
}
