import { verify } from "node:crypto";
import { quote } from "../../runtime/environment.ts";
import { EvidenceError } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import { type EvidenceCache, type Parse, parseAnew } from "../evidence-cache.ts";
import { type Certificate, parseCertificate } from "../x509.ts";
import { type Endorsement, type EndorsementKind, endorsementKind, parseEndorsement } from "./certificate.ts";
import { type ChainOptions, type Root, verifyChain } from "./chain.ts";
import { productOfCpuid, type SnpProduct } from "./product.ts";
import { type FirmwareVersion, parseSnpReport, type SnpReport } from "./report.ts";
import { describeTcb, parseTcb, partBelow, type Tcb, TCB_PARTS } from "./tcb.ts";

/**
 * Verifies that an AMD secure processor made a report: the chain up to a pinned root, the signature, and that the
 * certificate is the one of this chip at this TCB. Whether the report says the right thing is for `validateSnp`.
 */

/** More than a chain of either kind needs; without a limit, evidence could make a verifier work for long. */
const MAX_CERTIFICATES = 12;

/** A report that was verified. There is no way to one but `verifySnp`: the class is not exported. */
class VerifiedReport {
  readonly kind = "snp";
  readonly #report: SnpReport;
  readonly #endorsement: Endorsement;
  readonly #root: Root;
  readonly #path: readonly Certificate[];

  constructor(report: SnpReport, endorsement: Endorsement, root: Root, path: readonly Certificate[]) {
    this.#report = report;
    this.#endorsement = endorsement;
    this.#root = root;
    this.#path = path;
  }

  get report(): SnpReport {
    return this.#report;
  }

  get product(): SnpProduct {
    return this.#endorsement.product;
  }

  get signingKey(): EndorsementKind {
    return this.#endorsement.kind;
  }

  get root(): Root {
    return this.#root;
  }

  /** The certificates that vouch for it, from that of the signing key to the root's. */
  get path(): readonly Certificate[] {
    return this.#path;
  }
}

export type VerifiedSnpReport = VerifiedReport;
export interface SnpVerifyOptions extends ChainOptions {
  /** What earlier verifications parsed. It makes this one faster and changes nothing about its outcome. */
  readonly cache?: EvidenceCache | undefined;
}

/**
 * Parses and verifies evidence.
 *
 * @throws EvidenceError
 */
export function verifySnp(evidence: SnpEvidence, options: SnpVerifyOptions): VerifiedSnpReport {
  const { cache } = options;
  return cache === undefined
    ? verifyWith(parseAnew, evidence, options)
    : cache.remembering((parse) => verifyWith(parse, evidence, options));
}

function verifyWith(parse: Parse, evidence: SnpEvidence, options: ChainOptions): VerifiedSnpReport {
  const report = parseSnpReport(evidence.report);
  const certificates = parseCertificates(parse, evidence.certificates);
  const endorsement = findEndorsement(report, certificates);
  const { root, path } = verifyChain(parse, endorsement, certificates, options);
  checkSignature(report, endorsement);
  checkProduct(report, endorsement);
  checkChip(report, endorsement);
  checkTcb(report, endorsement);
  checkCommitted(report, endorsement);
  return new VerifiedReport(report, endorsement, root, path);
}

function parseCertificates(parse: Parse, encoded: readonly Buffer[]): readonly Certificate[] {
  if (encoded.length > MAX_CERTIFICATES) {
    throw new EvidenceError("malformed_certificate", "more certificates than a chain needs", {
      where: "certificates",
      got: `${encoded.length}`,
      want: `at most ${MAX_CERTIFICATES}`,
    });
  }
  return encoded.map((der) => parse(parseCertificate, der));
}

/** The report says which kind of key signed it; the certificate of the other kind must not do in its place. */
function findEndorsement(report: SnpReport, certificates: readonly Certificate[]): Endorsement {
  const wanted = report.signingKey;
  if (wanted === "none") {
    throw new EvidenceError("signing_key_mismatch", "the report is not signed", {
      where: "SIGNING_KEY",
      got: "none",
      want: "VCEK or VLEK",
    });
  }
  const [first, ...others] = certificates
    .filter((certificate) => endorsementKind(certificate) === wanted)
    .map((certificate) => parseEndorsement(wanted, certificate));
  // A host may send the certificate of an earlier TCB along: another key, which did not sign.
  if (first !== undefined) return others.find((other) => hasSigned(other, report)) ?? first;
  const other = certificates.find((certificate) => endorsementKind(certificate) !== undefined);
  if (other !== undefined) {
    throw new EvidenceError("signing_key_mismatch", "the report was signed by another kind of key", {
      where: "SIGNING_KEY",
      got: `${wanted.toUpperCase()}, and a certificate of ${other.commonName}`,
      want: `the certificate of the ${wanted.toUpperCase()}`,
    });
  }
  throw new EvidenceError("certificate_missing", "there is no certificate of the key that signed the report", {
    where: "certificates",
    got: certificates.map(({ commonName }) => quote(commonName)).join(", ") || "none",
    want: `SEV-${wanted.toUpperCase()}`,
    hint: "fetch it from AMD's key distribution service by CHIP_ID and REPORTED_TCB",
  });
}

function hasSigned({ publicKey }: Endorsement, { signed, signature }: SnpReport): boolean {
  return verify("sha384", signed, { key: publicKey, dsaEncoding: "ieee-p1363" }, signature);
}

function checkSignature(report: SnpReport, endorsement: Endorsement): void {
  if (hasSigned(endorsement, report)) return;
  throw new EvidenceError("report_signature", "the report is not signed by the key of the certificate", {
    where: "SIGNATURE",
    got: "another signature",
    want: `one by the key of ${endorsement.certificate.commonName}`,
    hint: "the report was changed, or the certificate is of another chip or TCB",
  });
}

/** A version 2 report names no product: there the certificate alone does. */
function checkProduct({ cpuid }: SnpReport, { product }: Endorsement): void {
  if (cpuid === undefined || productOfCpuid(cpuid) === product) return;
  throw new EvidenceError("product_mismatch", "the CPU is of another product than its certificate says", {
    where: "CPUID_FAM_ID, CPUID_MOD_ID",
    got: `family ${cpuid.family.toString(16)} model ${cpuid.model.toString(16)} (${productOfCpuid(cpuid) ?? "unknown"})`,
    want: product,
  });
}

/** CHIP_ID is the certificate's HWID, filled up with zeros; a VLEK belongs to no chip, and CHIP_ID is zero. */
function checkChip({ chipId, maskChipKey }: SnpReport, { hwid }: Endorsement): void {
  const want = Buffer.concat([hwid ?? Buffer.alloc(0)], 64);
  if (chipId.equals(want)) return;
  throw new EvidenceError("chip_id_mismatch", "the certificate belongs to another chip than the report", {
    where: "CHIP_ID",
    got: chipId.toString("hex"),
    want: want.toString("hex"),
    hint: maskChipKey ? "the host masks the chip's identity" : undefined,
  });
}

/** A certificate is for one TCB: with another one's key, an old firmware could pass for a new one. */
function checkTcb(report: SnpReport, { tcb, product }: Endorsement): void {
  const reported = parseTcb(report.reportedTcb, product, "REPORTED_TCB");
  const differs = TCB_PARTS.find((part) => reported[part] !== tcb[part]);
  if (differs !== undefined) throw tcbMismatch(`REPORTED_TCB.${differs}`, reported, "equal to", tcb);
  const current = parseTcb(report.currentTcb, product, "CURRENT_TCB");
  const below = partBelow(current, tcb);
  if (below !== undefined) throw tcbMismatch(`CURRENT_TCB.${below}`, current, "at least", tcb);
}

/** What the host has committed to can't be newer than what runs; a manifest's minimum is compared with the former. */
function checkCommitted(report: SnpReport, { product }: Endorsement): void {
  const committed = parseTcb(report.committedTcb, product, "COMMITTED_TCB");
  const current = parseTcb(report.currentTcb, product, "CURRENT_TCB");
  const above = partBelow(current, committed);
  if (above !== undefined) {
    throw newerThanRuns(`COMMITTED_TCB.${above}`, describeTcb(committed), describeTcb(current));
  }
  const { committedVersion, currentVersion } = report;
  if (compareVersions(committedVersion, currentVersion) > 0) {
    throw newerThanRuns("COMMITTED version", describeVersion(committedVersion), describeVersion(currentVersion));
  }
}

function newerThanRuns(where: string, got: string, current: string): EvidenceError {
  const message = "the host has committed to newer firmware than runs on it";
  return new EvidenceError("tcb_mismatch", message, { where, got, want: `at most ${current}` });
}

function compareVersions(a: FirmwareVersion, b: FirmwareVersion): number {
  return a.major - b.major || a.minor - b.minor || a.build - b.build;
}

function describeVersion({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`;
}

function tcbMismatch(where: string, got: Tcb, relation: string, tcb: Tcb): EvidenceError {
  return new EvidenceError("tcb_mismatch", "the certificate is for another TCB than the report's", {
    where,
    got: describeTcb(got),
    want: `${relation} ${describeTcb(tcb)}`,
    hint: "fetch the certificate of REPORTED_TCB",
  });
}
