import { parseCertificateTable } from "../../attestation/collect/certificate-table.ts";
import { digestOf } from "../../attestation/path.ts";
import { SNP_PRODUCTS } from "../../attestation/snp/product.ts";
import { AMD_ROOTS, simulatedRoots, type TrustAnchors } from "../../attestation/snp/roots.ts";
import { verifySnp } from "../../attestation/snp/verify.ts";
import type { VerifiedEvidence } from "../../attestation/tee.ts";
import { INTEL_ROOTS } from "../../attestation/tdx/roots.ts";
import { verifyTdx } from "../../attestation/tdx/verify.ts";
import type { Certificate } from "../../attestation/x509.ts";
import type { Manifest } from "../../manifest/manifest.ts";
import { decodeCertificates, decodeRevocationList, distinct, encodePem, rootsAmong } from "./certificates.ts";
import { readEvidenceFile } from "./files.ts";
import type { EvidenceOptions, EvidenceRequest } from "./request.ts";

/**
 * Reads evidence from files. All certificates go into one pool, whichever option named them: what a certificate is good
 * for is in the certificate.
 */

/** Verifies what was read, at a time. */
export type Verify = (at: Date) => VerifiedEvidence;

/**
 * @param manifest may name roots of software TEEs
 * @throws CliError unreadable_file; EvidenceError where a file is not what it should be
 */
export async function readEvidence(
  request: EvidenceRequest,
  options: EvidenceOptions,
  manifest: Manifest | undefined,
): Promise<Verify> {
  const anchors = await readTrustAnchors(options.trustAnchor);
  switch (request.kind) {
    case "snp":
      return readSnp(request.report, options, anchors, manifest);
    case "tdx":
      return readTdx(request, anchors);
    default:
      return request satisfies never;
  }
}

async function readSnp(
  path: string,
  { vcek, vlek, certChain, certTable, crl }: EvidenceOptions,
  anchors: Anchors | undefined,
  manifest: Manifest | undefined,
): Promise<Verify> {
  const report = await readEvidenceFile(path, "the report", "malformed_report");
  const pool: Uint8Array[] = [];
  for (const file of [vcek, vlek, certChain]) if (file !== undefined) pool.push(...(await readCertificates(file)));
  if (certTable !== undefined) {
    pool.push(...parseCertificateTable(await readCertificateFile(certTable, "the certificate table")));
  }
  const certificates = distinct([...pool, ...(anchors?.certificates ?? [])]);
  const list = crl === undefined ? undefined : await readRevocationList(crl);
  const simulated = manifest?.referenceValues.insecure.map(({ rootDigest }) => rootDigest) ?? [];
  const trustAnchors =
    anchors === undefined ? new Map([...simulatedRoots(simulated), ...AMD_ROOTS]) : snpAnchors(anchors.roots);
  return (at) => verifySnp({ kind: "snp", report, certificates }, { trustAnchors, at, crl: list });
}

async function readTdx(
  request: Extract<EvidenceRequest, { kind: "tdx" }>,
  anchors: Anchors | undefined,
): Promise<Verify> {
  const quote = await readEvidenceFile(request.quote, "the quote", "malformed_report");
  const collateral = {
    tcbInfo: await readEvidenceFile(request.tcbInfo, "the TCB info", "malformed_collateral"),
    qeIdentity: await readEvidenceFile(request.qeIdentity, "the QE identity", "malformed_collateral"),
    pckCrl: await readRevocationList(request.pckCrl),
    rootCrl: await readRevocationList(request.rootCaCrl),
  };
  const signers = await readCertificates(request.tcbSigningChain);
  const signingChain = encodePem(distinct([...signers, ...(anchors?.certificates ?? [])]));
  const trustAnchors = anchors === undefined ? INTEL_ROOTS : new Set(anchors.roots.map(digestOf));
  return (at) => verifyTdx({ kind: "tdx", quote, collateral: { ...collateral, signingChain } }, { trustAnchors, at });
}

interface Anchors {
  /** DER, also of those that are no roots. */
  readonly certificates: readonly Uint8Array[];
  readonly roots: readonly Certificate[];
}

/** @returns undefined where the vendor's roots are to be trusted */
async function readTrustAnchors(files: readonly string[] | undefined): Promise<Anchors | undefined> {
  if (files === undefined) return undefined;
  const certificates: Uint8Array[] = [];
  const roots: Certificate[] = [];
  for (const file of files) {
    const anchors = await readCertificates(file);
    certificates.push(...anchors);
    roots.push(...rootsAmong(anchors, file));
  }
  return { certificates, roots };
}

/** A root of another name than a product's vouches for nothing here. */
function snpAnchors(roots: readonly Certificate[]): TrustAnchors {
  return new Map(
    roots.flatMap((root) => {
      const product = SNP_PRODUCTS.find((name) => root.commonName === `ARK-${name}`);
      return product === undefined ? [] : [[digestOf(root), { simulated: false, product }] as const];
    }),
  );
}

async function readCertificates(path: string): Promise<readonly Uint8Array[]> {
  return decodeCertificates(await readCertificateFile(path, "the certificate"), path);
}

function readCertificateFile(path: string, what: string): Promise<Uint8Array> {
  return readEvidenceFile(path, what, "malformed_certificate");
}

async function readRevocationList(path: string): Promise<Uint8Array> {
  return decodeRevocationList(await readEvidenceFile(path, "the revocation list", "malformed_crl"), path);
}
