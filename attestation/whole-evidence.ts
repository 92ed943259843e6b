import type { ChipVendors } from "./endorsements/vendors.ts";
import type { SnpEvidence, TdxEvidence, TeeKind } from "./evidence.ts";
import { parseAnew } from "./parse.ts";
import { hasIssuers } from "./snp/chain.ts";
import { verifySnpSignature } from "./snp/signature.ts";
import { pckCaOf } from "./tdx/chain.ts";
import type { TdxTrustAnchors } from "./tdx/roots.ts";
import { verifyTdxSignature } from "./tdx/signature.ts";
import type { EvidenceOf } from "./tee.ts";

/**
 * Evidence with all that a verifier needs beside the vendor's root, for one who can't ask the vendor: a browser, or a file
 * that is looked at later. Of what the vendor publishes it has the latest that is known here, and a verifier who can ask
 * asks for himself.
 */
export interface WholeOptions {
  readonly vendors: ChipVendors;
  readonly tdxAnchors: TdxTrustAnchors;
  readonly now: () => Date;
}

const WHOLE: { readonly [K in TeeKind]: (evidence: EvidenceOf<K>, options: WholeOptions) => Promise<EvidenceOf<K>> } = {
  snp: wholeSnp,
  tdx: wholeTdx,
};

/**
 * @param evidence of this VM. Only its signature is verified, for by what it says the vendor is asked
 * @throws EvidenceError, EndorsementError
 */
export function wholeEvidence<K extends TeeKind>(
  evidence: EvidenceOf<K>,
  options: WholeOptions,
): Promise<EvidenceOf<K>> {
  return WHOLE[evidence.kind](evidence, options);
}

async function wholeSnp(evidence: SnpEvidence, { vendors }: WholeOptions): Promise<SnpEvidence> {
  const endorsed = await vendors.withVcek(evidence, { hurry: true });
  const signed = verifySnpSignature(endorsed, parseAnew);
  const { kind, product } = signed.endorsement;
  const [issuers, crl] = await Promise.all([
    hasIssuers(signed.certificates, signed.endorsement) ? [] : vendors.issuers(kind, product),
    vendors.snpCrl(kind, product),
  ]);
  return { ...endorsed, certificates: [...endorsed.certificates, ...issuers], crl };
}

async function wholeTdx(evidence: TdxEvidence, { vendors, tdxAnchors, now }: WholeOptions): Promise<TdxEvidence> {
  const { pck, chain } = verifyTdxSignature(evidence, tdxAnchors, now(), parseAnew);
  const collateral = await vendors.tdxCollateral({ fmspc: pck.fmspc, ca: pckCaOf(chain) }, { hurry: true });
  return { ...evidence, collateral };
}
