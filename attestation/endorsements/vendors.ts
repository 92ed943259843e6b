import type { SnpEvidence, TdxCollateral } from "../evidence.ts";
import type { EndorsementKind } from "../snp/certificate.ts";
import type { SnpProduct } from "../snp/product.ts";
import { fetchIssuers, fetchSnpCrl, withVcek } from "./amd.ts";
import type { CacheUse, EndorsementCache } from "./cache.ts";
import { fetchTdxCollateral, type TdxPlatform } from "./intel.ts";

/**
 * What a verifier may ask the vendors for on a stranger's behalf: what many platforms share. Nothing that they answer is
 * verified. All throw EndorsementError.
 */
export interface Vendors {
  /** Of a product's VCEKs or VLEKs: DER. */
  readonly issuers: (kind: EndorsementKind, product: SnpProduct) => Promise<readonly Uint8Array[]>;
  /** The revocation list of the product's root: DER. */
  readonly snpCrl: (kind: EndorsementKind, product: SnpProduct) => Promise<Uint8Array>;
  readonly tdxCollateral: (platform: TdxPlatform, use?: CacheUse) => Promise<TdxCollateral>;
}

/** For whoever asks about his own chip, or about that of a peer that he has chosen. */
export interface ChipVendors extends Vendors {
  /** Adds the certificate of the chip's key where it lacks. @throws EvidenceError where the report does not say which */
  readonly withVcek: (evidence: SnpEvidence, use?: CacheUse) => Promise<SnpEvidence>;
}

export function vendorsThrough(cache: EndorsementCache): ChipVendors {
  return {
    withVcek: (evidence, use) => withVcek(evidence, cache, use),
    issuers: (kind, product) => fetchIssuers(kind, product, cache),
    snpCrl: (kind, product) => fetchSnpCrl(kind, product, cache),
    tdxCollateral: (platform, use) => fetchTdxCollateral(platform, cache, use),
  };
}
