import { EvidenceError } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import { parseRevocationList } from "../crl.ts";
import { decodePemCertificates } from "../pem.ts";
import { type Endorsement, type EndorsementKind, endorsementKind, parseEndorsement } from "../snp/certificate.ts";
import { productOfCpuid, SNP_PRODUCTS, type SnpProduct } from "../snp/product.ts";
import { parseSnpReport, type SnpReport } from "../snp/report.ts";
import { describeTcb, parseTcb, type Tcb, TCB_PARTS } from "../snp/tcb.ts";
import { type Certificate, parseCertificate } from "../x509.ts";
import type { EndorsementCache } from "./cache.ts";
import { EndorsementError } from "./error.ts";

/**
 * AMD's key distribution service (AMD publication 57230, chapter 4): VCEK certificates by chip and TCB, the certificates
 * of their issuers and the roots' revocation lists by product. VLEK certificates are for cloud providers only.
 */
const KDS = "https://kdsintf.amd.com";

/** Evidence with all certificates that `verifySnp` needs, and the revocation list that belongs to them. */
export interface CompleteSnp {
  readonly evidence: SnpEvidence;
  /** DER. */
  readonly crl: Buffer;
}

/**
 * Adds what did not come along with a report. Nothing of it is verified, before or after: what is wrong with it,
 * `verifySnp` says.
 *
 * @param product of the chip, where neither the report (version 2) nor a certificate that came along says it
 * @throws EndorsementError
 * @throws EvidenceError where the report or a certificate that came along is malformed, or not enough to ask with
 */
export async function completeSnpEvidence(
  evidence: SnpEvidence,
  cache: EndorsementCache,
  product?: SnpProduct,
): Promise<CompleteSnp> {
  const report = parseSnpReport(evidence.report);
  const kind = signingKeyOf(report);
  const certificates = evidence.certificates.map((der) => parseCertificate(der));
  const endorsements = certificates
    .filter((certificate) => endorsementKind(certificate) === kind)
    .map((certificate) => parseEndorsement(kind, certificate));
  const chip = chipOf(report, endorsements, product);
  const hasEndorsement = kind === "vlek" ? hasVlek(endorsements) : endorsements.some((each) => isOfChip(each, chip));
  // An issuer that came along may be of another generation than the VCEK that did not.
  const hasIssuers = hasEndorsement && hasNames(certificates, issuersOf(kind, chip.product));
  const [vcek, issuers, crl] = await Promise.all([
    hasEndorsement ? [] : fetchVcek(chip, cache),
    hasIssuers ? [] : fetchIssuers(kind, chip.product, cache),
    fetchCrl(kind, chip.product, cache),
  ]);
  return { evidence: { ...evidence, certificates: [...evidence.certificates, ...vcek, ...issuers] }, crl };
}

/** What a VCEK certificate is looked up by. */
export interface Chip {
  readonly product: SnpProduct;
  /** As in the report, 64 bytes. */
  readonly chipId: Buffer;
  readonly tcb: Tcb;
}

export function vcekUrl({ product, chipId, tcb }: Chip): URL {
  const fmc = product === "Turin" ? `fmcSPL=${tcb.fmc}&` : "";
  const { bootloader, tee, snp, microcode } = tcb;
  const spl = `${fmc}blSPL=${bootloader}&teeSPL=${tee}&snpSPL=${snp}&ucodeSPL=${microcode}`;
  return new URL(`${KDS}/vcek/v1/${product}/${hwidOf(product, chipId).toString("hex")}?${spl}`);
}

export function issuersUrl(kind: EndorsementKind, product: SnpProduct): URL {
  return new URL(`${KDS}/${kind}/v1/${product}/cert_chain`);
}

export function crlUrl(kind: EndorsementKind, product: SnpProduct): URL {
  return new URL(`${KDS}/${kind}/v1/${product}/crl`);
}

/** Turin's chips are known by the first 8 bytes; the others are zero. */
function hwidOf(product: SnpProduct, chipId: Buffer): Buffer {
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

function hasVlek(endorsements: readonly Endorsement[]): boolean {
  if (endorsements.length > 0) return true;
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
    hwid?.equals(hwidOf(chip.product, chip.chipId)) === true &&
    TCB_PARTS.every((part) => tcb[part] === chip.tcb[part])
  );
}

function issuersOf(kind: EndorsementKind, product: SnpProduct): readonly string[] {
  return [`${kind === "vcek" ? "SEV" : "SEV-VLEK"}-${product}`, `ARK-${product}`];
}

function hasNames(certificates: readonly Certificate[], names: readonly string[]): boolean {
  return names.every((name) => certificates.some(({ commonName }) => commonName === name));
}

async function fetchVcek(chip: Chip, cache: EndorsementCache): Promise<readonly Buffer[]> {
  if (chip.chipId.every((byte) => byte === 0)) {
    throw new EvidenceError("chip_id_mismatch", "the report does not say which chip made it", {
      where: "CHIP_ID",
      got: "zero",
      want: "the chip's identity, to look up its certificate by",
      hint: "the host masks it: turn that off, or send the certificate along with the report",
    });
  }
  const what = `the VCEK certificate of this chip at ${describeTcb(chip.tcb)}, DER`;
  const validUntil = ({ body }: { readonly body: Buffer }): Date => {
    const certificate = parseCertificate(body);
    if (endorsementKind(certificate) !== "vcek" || !isOfChip(parseEndorsement("vcek", certificate), chip)) {
      throw new Error("the certificate of another key");
    }
    return certificate.notAfter;
  };
  const { body } = await cache.get({ url: vcekUrl(chip), what, validUntil });
  return [body];
}

async function fetchIssuers(
  kind: EndorsementKind,
  product: SnpProduct,
  cache: EndorsementCache,
): Promise<readonly Buffer[]> {
  const names = issuersOf(kind, product);
  const what = `the certificates ${names.join(" and ")}, PEM`;
  const validUntil = ({ body }: { readonly body: Buffer }): Date => {
    const certificates = decodeChain(body).map((der) => parseCertificate(der));
    if (!hasNames(certificates, names)) throw new Error("the certificates of others");
    return new Date(Math.min(...certificates.map(({ notAfter }) => notAfter.getTime())));
  };
  const { body } = await cache.get({ url: issuersUrl(kind, product), what, validUntil });
  return decodeChain(body);
}

/** The chain of Turin's VLEKs has an empty line behind it. */
function decodeChain(body: Buffer): readonly Buffer[] {
  return decodePemCertificates(Buffer.from(body.toString("latin1").trimEnd()), "cert_chain");
}

async function fetchCrl(kind: EndorsementKind, product: SnpProduct, cache: EndorsementCache): Promise<Buffer> {
  const validUntil = ({ body }: { readonly body: Buffer }): Date => parseRevocationList(body).nextUpdate;
  const what = `the revocation list of ARK-${product}, DER`;
  const { body } = await cache.get({ url: crlUrl(kind, product), what, validUntil });
  return body;
}
