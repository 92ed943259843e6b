import { isEqual, toHex, toLatin1 } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import { parseRevocationList } from "../crl.ts";
import { isIssuedBy } from "../path.ts";
import { decodePemCertificates } from "../pem.ts";
import { type Endorsement, type EndorsementKind, endorsementKind, parseEndorsement } from "../snp/certificate.ts";
import { hasIssuers, issuerNames } from "../snp/chain.ts";
import { isSignedBy } from "../snp/pss.ts";
import { productOfCpuid, SNP_PRODUCTS, type SnpProduct } from "../snp/product.ts";
import { parseSnpReport, type SnpReport } from "../snp/report.ts";
import { describeTcb, parseTcb, type Tcb, TCB_PARTS } from "../snp/tcb.ts";
import { parseCertificate } from "../x509.ts";
import type { CacheUse, EndorsementCache, EndorsementRequest } from "./cache.ts";
import { EndorsementError } from "./error.ts";

/**
 * AMD's key distribution service (AMD publication 57230, chapter 4): VCEK certificates by chip and TCB, the certificates
 * of their issuers and the roots' revocation lists by product. VLEK certificates are for cloud providers only.
 */
const KDS = "https://kdsintf.amd.com";

export interface ChipUse extends CacheUse {
  /** Of the chip, where neither the report (version 2) nor a certificate that came along says it. */
  readonly product?: SnpProduct | undefined;
}

/**
 * Adds the certificate of the chip's key where it did not come along. That is per chip: whoever shows evidence brings
 * it, and a verifier asks only for the evidence of one that it has chosen itself. The certificate is the one that was
 * asked for; nothing is verified.
 *
 * @throws EndorsementError
 * @throws EvidenceError where the report or a certificate that came along is malformed, or not enough to ask with
 */
export async function withVcek(
  evidence: SnpEvidence,
  cache: EndorsementCache,
  { product, ...use }: ChipUse = {},
): Promise<SnpEvidence> {
  const report = parseSnpReport(evidence.report);
  const kind = signingKeyOf(report);
  const brought = evidence.certificates.map((der) => ({ der, certificate: parseCertificate(der) }));
  const endorsements = brought
    .filter(({ certificate }) => endorsementKind(certificate) === kind)
    .map(({ certificate }) => parseEndorsement(kind, certificate));
  if (kind === "vlek") {
    requireVlek(endorsements);
    return evidence;
  }
  const chip = chipOf(report, endorsements, product);
  if (endorsements.some((each) => isOfChip(each, chip))) return evidence;
  const vcek = await fetchVcek(chip, cache, use);
  const issued = parseCertificate(vcek);
  // An issuer that came along may be of another generation than the VCEK that did not: then it is no help.
  const issuers = brought.filter(({ certificate }) => endorsementKind(certificate) === undefined);
  const isHelpful = issuers.some(({ certificate }) => isIssuedBy(issued, certificate, isSignedBy));
  return { ...evidence, certificates: [vcek, ...(isHelpful ? issuers.map(({ der }) => der) : [])] };
}

/** What a VCEK certificate is looked up by. */
export interface Chip {
  readonly product: SnpProduct;
  /** As in the report, 64 bytes. */
  readonly chipId: Uint8Array;
  readonly tcb: Tcb;
}

export function vcekUrl({ product, chipId, tcb }: Chip): URL {
  const fmc = product === "Turin" ? `fmcSPL=${tcb.fmc}&` : "";
  const { bootloader, tee, snp, microcode } = tcb;
  const spl = `${fmc}blSPL=${bootloader}&teeSPL=${tee}&snpSPL=${snp}&ucodeSPL=${microcode}`;
  return new URL(`${KDS}/vcek/v1/${product}/${toHex(hwidOf(product, chipId))}?${spl}`);
}

export function issuersUrl(kind: EndorsementKind, product: SnpProduct): URL {
  return new URL(`${KDS}/${kind}/v1/${product}/cert_chain`);
}

export function crlUrl(kind: EndorsementKind, product: SnpProduct): URL {
  return new URL(`${KDS}/${kind}/v1/${product}/crl`);
}

/** Turin's chips are known by the first 8 bytes; the others are zero. */
function hwidOf(product: SnpProduct, chipId: Uint8Array): Uint8Array {
  return product === "Turin" ? chipId.subarray(0, 8) : chipId;
}

function signingKeyOf({ signingKey }: SnpReport): EndorsementKind {
  if (signingKey !== "none") return signingKey;
  throw new EvidenceError("signing_key_mismatch", "the report is not signed", {
    where: "SIGNING_KEY",
    got: "none",
    want: "VCEK or VLEK",
  });
}

function chipOf(report: SnpReport, endorsements: readonly Endorsement[], named: SnpProduct | undefined): Chip {
  const ofReport = report.cpuid === undefined ? undefined : productOfCpuid(report.cpuid);
  const product = ofReport ?? endorsements[0]?.product ?? named;
  if (product === undefined) {
    throw new EndorsementError("product_unknown", "nothing says which product the CPU is", {
      where: "CPUID_FAM_ID, CPUID_MOD_ID",
      got: `a report of version ${report.version}${report.cpuid === undefined ? "" : " of another CPU"}, and no certificate`,
      want: SNP_PRODUCTS.join(" or "),
      hint: "name the product, or send the certificate along with the report",
    });
  }
  return { product, chipId: report.chipId, tcb: parseTcb(report.reportedTcb, product, "REPORTED_TCB") };
}

function requireVlek(endorsements: readonly Endorsement[]): void {
  if (endorsements.length > 0) return;
  throw new EndorsementError("vlek_not_distributed", "the certificate of a VLEK can't be fetched", {
    where: "certificates",
    got: "none of the VLEK that signed the report",
    want: "SEV-VLEK",
    hint: "AMD gives VLEKs to cloud providers only: take the certificate from the host, along with the report",
  });
}

function isOfChip({ product, hwid, tcb }: Endorsement, chip: Chip): boolean {
  return (
    product === chip.product &&
    hwid !== undefined &&
    isEqual(hwid, hwidOf(chip.product, chip.chipId)) &&
    TCB_PARTS.every((part) => tcb[part] === chip.tcb[part])
  );
}

async function fetchVcek(chip: Chip, cache: EndorsementCache, use: CacheUse): Promise<Uint8Array> {
  if (chip.chipId.every((byte) => byte === 0)) {
    throw new EvidenceError("chip_id_mismatch", "the report does not say which chip made it", {
      where: "CHIP_ID",
      got: "zero",
      want: "the chip's identity, to look up its certificate by",
      hint: "the host masks it: turn that off, or send the certificate along with the report",
    });
  }
  const { body } = await cache.get(vcekRequest(chip), use);
  return body;
}

export function vcekRequest(chip: Chip): EndorsementRequest {
  const what = `the VCEK certificate of this chip at ${describeTcb(chip.tcb)}, DER`;
  const validUntil = ({ body }: { readonly body: Uint8Array }): Date => {
    const certificate = parseCertificate(body);
    if (endorsementKind(certificate) !== "vcek" || !isOfChip(parseEndorsement("vcek", certificate), chip)) {
      throw new Error("the certificate of another key");
    }
    return certificate.notAfter;
  };
  return { url: vcekUrl(chip), what, validUntil };
}

/** @returns DER; nothing of them is verified @throws EndorsementError */
export async function fetchIssuers(
  kind: EndorsementKind,
  product: SnpProduct,
  cache: EndorsementCache,
): Promise<readonly Uint8Array[]> {
  const { body } = await cache.get(issuersRequest(kind, product));
  return decodeChain(body);
}

export function issuersRequest(kind: EndorsementKind, product: SnpProduct): EndorsementRequest {
  const names = issuerNames(kind, product);
  const what = `the certificates ${names.join(" and ")}, PEM`;
  const validUntil = ({ body }: { readonly body: Uint8Array }): Date => {
    const certificates = decodeChain(body).map((der) => parseCertificate(der));
    if (!hasIssuers(certificates, { kind, product })) throw new Error("the certificates of others");
    return new Date(Math.min(...certificates.map(({ notAfter }) => notAfter.getTime())));
  };
  return { url: issuersUrl(kind, product), what, validUntil };
}

/** The chain of Turin's VLEKs has an empty line behind it. */
function decodeChain(body: Uint8Array): readonly Uint8Array[] {
  return decodePemCertificates(Buffer.from(toLatin1(body).trimEnd()), "cert_chain");
}

/** @returns the list of the product's root, DER; nothing of it is verified @throws EndorsementError */
export async function fetchSnpCrl(
  kind: EndorsementKind,
  product: SnpProduct,
  cache: EndorsementCache,
): Promise<Uint8Array> {
  const { body } = await cache.get(snpCrlRequest(kind, product));
  return body;
}

export function snpCrlRequest(kind: EndorsementKind, product: SnpProduct): EndorsementRequest {
  const validUntil = ({ body }: { readonly body: Uint8Array }): Date => parseRevocationList(body).nextUpdate;
  return { url: crlUrl(kind, product), what: `the revocation list of ARK-${product}, DER`, validUntil };
}
