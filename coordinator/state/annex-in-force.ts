import { sha256Hex } from "../../bytes/sha256.ts";
import { type Annex, EMPTY_ANNEX, type SecretVersion } from "../../manifest/annex.ts";
import type { SecretLabel } from "./sealing.ts";

/** An annex as it is in force, or would be. */
export interface AnnexInForce {
  /** SHA-256 of the bytes, hex. */
  readonly digest: string;
  readonly bytes: Buffer;
  readonly annex: Annex;
}

export function annexInForce(bytes: Uint8Array, annex: Annex): AnnexInForce {
  return { digest: sha256Hex(bytes), bytes: Buffer.from(bytes), annex };
}

/** What is in force, also where nothing was ever amended. */
export function annexOf({ annex }: { readonly annex: AnnexInForce | undefined }): Annex {
  return annex?.annex ?? EMPTY_ANNEX;
}

/** A version of a secret: what it is sealed with, and the SHA-256 of its record. */
export interface NamedSecret extends SecretLabel {
  readonly sealed: string;
}

export function secretsOf({ secrets }: Annex): NamedSecret[] {
  return [...secrets].flatMap(([name, { versions }]) => versions.map((version) => ({ name, ...version })));
}

/** Those that one of these may read. @param readers as the annex names them (manifest/annex-names.ts) */
export function readableBy(annex: Annex, readers: ReadonlySet<string>): NamedSecret[] {
  const isReadable = (version: SecretVersion): boolean => version.readers.some((reader) => readers.has(reader));
  return secretsOf(annex).filter(isReadable);
}
