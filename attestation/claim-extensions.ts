import { fromUtf8 } from "../bytes/encode.ts";
import { TAG } from "../pki/der.ts";
import { encodeDer } from "../pki/der-writer.ts";
import type { ClaimForm } from "./claim-forms.ts";

/**
 * The verified claims as extensions of the workload's certificate, one UTF8String each (X.690 §8.23), so that
 * `openssl x509 -text` shows them and a peer can decide by them. `read-claims.ts` is the way back; `docs/claims.md` has
 * all of them in one table.
 */
export interface ClaimExtensions<C> {
  /** Under which Contrast's certificates carry the claims of this kind of TEE. */
  readonly arc: string;
  /**
   * The last number of an identifier is the place in this list, so entries are only ever added at its end. What is
   * undefined has no extension.
   */
  readonly forms: { readonly [Name in keyof C & string]-?: ClaimForm<Exclude<C[Name], undefined>> };
  /** Those that a line of a log or of a terminal has room for. */
  readonly brief: readonly (keyof C & string)[];
}

type Value = string | number | boolean;

/** @returns object identifier to DER */
export function encodeClaims<C extends object>(claims: C, extensions: ClaimExtensions<C>): Map<string, Uint8Array> {
  return encodeEach(extensions, (name) => claims[name as keyof C] as Value | undefined);
}

/** What is as long as the extensions of any claims. @returns object identifier to DER */
export function longestClaims(extensions: AnyExtensions): Map<string, Uint8Array> {
  return encodeEach(extensions, (name) => extensions.forms[name]?.longest);
}

/** Of any kind of TEE. */
interface AnyExtensions {
  readonly arc: string;
  readonly forms: Readonly<Record<string, Pick<ClaimForm<unknown>, "longest">>>;
}

function encodeEach(
  { arc, forms }: AnyExtensions,
  valueOf: (name: string) => Value | undefined,
): Map<string, Uint8Array> {
  const encoded = new Map<string, Uint8Array>();
  for (const [index, name] of Object.keys(forms).entries()) {
    const value = valueOf(name);
    if (value !== undefined) encoded.set(`${arc}.${index + 1}`, encodeDer(TAG.utf8String, fromUtf8(String(value))));
  }
  return encoded;
}
