import { encodeClaims } from "./claim-extensions.ts";
import type { TeeKind } from "./evidence.ts";
import type { SnpClaims } from "./snp/claims.ts";
import type { TdxClaims } from "./tdx/claims.ts";
import type { ClaimsOf, VerifiedOf } from "./tee.ts";
import { TEES } from "./tees.ts";

export type Claims = SnpClaims | TdxClaims;

/** What verified evidence says, for logs and for the extensions of certificates. */
export function claims<K extends TeeKind>(verified: VerifiedOf<K>): ClaimsOf<K> {
  return TEES[verified.kind].claims(verified);
}

/** @returns object identifier to DER */
export function claimExtensions<K extends TeeKind>(claims: ClaimsOf<K>): Map<string, Uint8Array> {
  return encodeClaims(claims, TEES[claims.tee].claimExtensions);
}

/** What the CPU says it is, hex. */
export function chipOf<K extends TeeKind>(claims: ClaimsOf<K>): string {
  return TEES[claims.tee].chip(claims);
}
