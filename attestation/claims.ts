import { encodeClaims, longestClaims } from "./claim-extensions.ts";
import type { TeeKind } from "./evidence.ts";
import type { SnpClaims } from "./snp/claims.ts";
import type { TdxClaims } from "./tdx/claims.ts";
import type { ClaimsOf, VerifiedOf } from "./tee.ts";
import { TEE_KINDS, TEES } from "./tees.ts";

export type Claims = SnpClaims | TdxClaims;

/** What verified evidence says, for logs and for the extensions of certificates. */
export function claims<K extends TeeKind>(verified: VerifiedOf<K>): ClaimsOf<K> {
  return TEES[verified.kind].claims(verified);
}

/** @returns object identifier to DER */
export function claimExtensions<K extends TeeKind>(claims: ClaimsOf<K>): Map<string, Uint8Array> {
  return encodeClaims(claims, TEES[claims.tee].claimExtensions);
}

/** For each kind of TEE what is as long as its claims get. @returns object identifier to DER */
export function longestClaimExtensions(): readonly ReadonlyMap<string, Uint8Array>[] {
  return TEE_KINDS.map((kind) => longestClaims(TEES[kind].claimExtensions));
}

/** Those that a line of a log or of a terminal has room for; certificates carry all. */
export function briefClaims<K extends TeeKind>(claims: ClaimsOf<K>): Readonly<Record<string, string>> {
  const { brief } = TEES[claims.tee].claimExtensions;
  return Object.fromEntries(brief.map((name) => [name, String(claims[name])]));
}

/** What the CPU says it is, hex. */
export function chipOf<K extends TeeKind>(claims: ClaimsOf<K>): string {
  return TEES[claims.tee].chip(claims);
}
