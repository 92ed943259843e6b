import { isEqual } from "../bytes/encode.ts";

/** How a verification parses: anew, or by what it, or an earlier one, has parsed before (evidence-cache.ts). */

/** Parses bytes, or finds what the same parser made of the same bytes. */
export type Parse = <T extends object>(parser: (bytes: Uint8Array) => T, bytes: Uint8Array) => T;

/** What one verification parses. */
export interface Reading {
  readonly parse: Parse;
  /** Remembers it for the next ones. */
  readonly keep: () => void;
}

/** For a verification in one step. */
export const parseAnew: Parse = (parser, bytes) => parser(bytes);

/** For a verification in several steps without a cache: what they have in common is parsed once. */
export function readOnce(): Reading {
  const known: { readonly parser: unknown; readonly bytes: Uint8Array; readonly value: object }[] = [];
  return {
    parse: (parser, bytes) => {
      const before = known.find((entry) => entry.parser === parser && isEqual(entry.bytes, bytes));
      if (before !== undefined) return before.value as ReturnType<typeof parser>;
      const value = parser(bytes);
      known.push({ parser, bytes: new Uint8Array(bytes), value });
      return value;
    },
    keep: () => undefined,
  };
}
