import { toHex } from "../../bytes/encode.ts";
import { settle } from "../../crypto/node.ts";
import { isUnreachable } from "../endorsements/error.ts";
import type { Vendors } from "../endorsements/vendors.ts";
import type { SnpEvidence } from "../evidence.ts";
import { EvidenceError } from "../error.ts";
import type { EvidenceCache } from "../evidence-cache.ts";
import { parseAnew, readOnce } from "../parse.ts";
import { digestOf } from "../path.ts";
import { checkReportData } from "../report-data.ts";
import type { BoundEvidence, CompleteOptions, SimulatedOptions, Tee, VerifyOptions } from "../tee.ts";
import { parseCertificate } from "../x509.ts";
import type { EndorsementKind } from "./certificate.ts";
import { hasIssuers } from "./chain.ts";
import { SNP_CLAIM_EXTENSIONS, snpClaims } from "./claims.ts";
import { snpLaunch } from "./identity.ts";
import type { SnpProduct } from "./product.ts";
import { simulatedRoots } from "./roots.ts";
import { verifySnpSignature } from "./signature.ts";
import { type VerifiedSnpReport, verifySignedSnp, verifySnp } from "./verify.ts";

/** SEV-SNP, and the software TEE, which imitates it. */
export const SNP: Tee<"snp"> = {
  verify,
  verifyComplete,
  verifySimulated,
  complete: (evidence, vendors, use) => vendors.withVcek(evidence, use),
  policyField: "HOST_DATA",
  policyHash: ({ report }) => toHex(report.hostData),
  launch: ({ report }) => snpLaunch(report),
  claims: snpClaims,
  claimExtensions: SNP_CLAIM_EXTENSIONS,
  chip: ({ chipId }) => chipId,
};

async function verify(
  { evidence, reportData }: BoundEvidence<SnpEvidence>,
  { snpAnchors: trustAnchors, now, highWater, vendors, cache, abandoned }: VerifyOptions,
): Promise<VerifiedSnpReport> {
  const { parse, keep } = cache?.begin() ?? readOnce();
  const signed = await settle(() => {
    const report = verifySnpSignature(evidence, parse);
    checkReportData(report, reportData);
    return report;
  });
  const { kind, product } = signed.endorsement;
  const issuers = hasIssuers(signed.certificates, signed.endorsement) ? [] : await vendors.issuers(kind, product);
  const vouch = (crl?: Uint8Array): Promise<VerifiedSnpReport> => {
    abandoned?.throwIfAborted();
    const options = { trustAnchors, at: now(), crl };
    return settle(() => verifySignedSnp(signed, issuers, options, parse));
  };
  await vouch();
  const verified = await vouch(await snpCrl(evidence, kind, product, vendors));
  highWater.raise(verified, true);
  keep();
  return verified;
}

function verifyComplete(
  { evidence, reportData }: BoundEvidence<SnpEvidence>,
  { snpAnchors: trustAnchors, at }: CompleteOptions,
): VerifiedSnpReport {
  const signed = verifySnpSignature(evidence, parseAnew);
  checkReportData(signed, reportData);
  const { crl } = evidence;
  // Without the list nothing would be looked up in it.
  if (crl === undefined) {
    throw new EvidenceError("collateral_missing", "there is no revocation list to look the certificates up in", {
      where: "crl",
      got: "none",
      want: `the list of ARK-${signed.endorsement.product}`,
    });
  }
  return verifySignedSnp(signed, [], { trustAnchors, at, crl }, parseAnew);
}

async function snpCrl(
  { crl: brought }: SnpEvidence,
  kind: EndorsementKind,
  product: SnpProduct,
  vendors: Vendors,
): Promise<Uint8Array> {
  try {
    return await vendors.snpCrl(kind, product);
  } catch (error) {
    if (isUnreachable(error) && brought !== undefined) return brought;
    throw error;
  }
}

/** Under the roots of software TEEs alone, or a real chip could get around AMD's revocation list by adding one. */
function verifySimulated(
  evidence: SnpEvidence,
  roots: ReadonlySet<string>,
  { at, cache }: SimulatedOptions,
): VerifiedSnpReport | undefined {
  if (!bringsRoot(evidence, roots, cache)) return undefined;
  return verifySnp(evidence, { trustAnchors: simulatedRoots([...roots]), at, cache });
}

function bringsRoot({ certificates }: SnpEvidence, roots: ReadonlySet<string>, cache?: EvidenceCache): boolean {
  const parse = (der: Uint8Array) => cache?.recall(parseCertificate, der) ?? parseCertificate(der);
  return roots.size > 0 && certificates.some((der) => roots.has(digestOf(parse(der))));
}
