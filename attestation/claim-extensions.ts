import { TAG } from "../pki/der.ts";
import { encodeDer } from "../pki/der-writer.ts";

/**
 * The verified claims as extensions of the workload's certificate, one UTF8String each (X.690 §8.23), so that
 * `openssl x509 -text` shows them and a peer can decide by them.
 */
export interface ClaimExtensions<C> {
  /** Under which Contrast's certificates carry the claims of this kind of TEE. */
  readonly arc: string;
  /** The last number of an identifier is the place in this list, so entries are only ever added at its end. */
  readonly names: readonly (keyof C & string)[];
}

/** @returns object identifier to DER */
export function encodeClaims<C extends object>(claims: C, { arc, names }: ClaimExtensions<C>): Map<string, Buffer> {
  return new Map(
    names.map((name, index) => [`${arc}.${index + 1}`, encodeDer(TAG.utf8String, Buffer.from(String(claims[name])))]),
  );
}
