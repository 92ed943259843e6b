import { filledUp, isEqual, toHex } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import type { SnpEvidence } from "../evidence.ts";
import type { EvidenceCache } from "../evidence-cache.ts";
import { type Parse, parseAnew } from "../parse.ts";
import type { SignedTime } from "../signed-time.ts";
import { type Certificate, parseCertificate } from "../x509.ts";
import type { Endorsement, EndorsementKind } from "./certificate.ts";
import { type ChainOptions, type Root, type SnpChain, verifyChain } from "./chain.ts";
import { productOfCpuid, type SnpProduct } from "./product.ts";
import type { FirmwareVersion, SnpReport } from "./report.ts";
import { type SignedSnpReport, verifySnpSignature } from "./signature.ts";
import { describeTcb, parseTcb, partBelow, type Tcb, TCB_PARTS } from "./tcb.ts";

/**
 * Verifies that an AMD secure processor made a report: the signature, the chain up to a pinned root, and that the
 * certificate is the one of this chip at this TCB. Whether the report says the right thing is for `validateSnp`.
 */

/** A report that was verified. There is no way to one but through this file: the class is not exported. */
class VerifiedReport {
  readonly kind = "snp";
  readonly #report: SnpReport;
  readonly #endorsement: Endorsement;
  readonly #root: Root;
  readonly #path: readonly Certificate[];
  readonly #signedTimes: readonly SignedTime[];

  constructor({ report, endorsement }: SignedSnpReport, { root, path, signedTimes }: SnpChain) {
    this.#report = report;
    this.#endorsement = endorsement;
    this.#root = root;
    this.#path = path;
    this.#signedTimes = signedTimes;
  }

  get report(): SnpReport {
    return this.#report;
  }

  get reportData(): Uint8Array {
    return this.#report.reportData;
  }

  get product(): SnpProduct {
    return this.#endorsement.product;
  }

  get signingKey(): EndorsementKind {
    return this.#endorsement.kind;
  }

  /** Of a VLEK: the cloud service provider on whose machines it is. */
  get cspId(): string | undefined {
    return this.#endorsement.cspId;
  }

  get root(): Root {
    return this.#root;
  }

  /** It comes from a software TEE and proves nothing about hardware. */
  get simulated(): boolean {
    return this.#root.simulated;
  }

  /** The certificates that vouch for it, from that of the signing key to the root's. */
  get path(): readonly Certificate[] {
    return this.#path;
  }

  /** When the root signed what was verified on the way: the revocation list, where there was one. */
  get signedTimes(): readonly SignedTime[] {
    return this.#signedTimes;
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
  const verifyWith = (parse: Parse): VerifiedSnpReport =>
    verifySignedSnp(verifySnpSignature(evidence, parse), [], options, parse);
  return cache === undefined ? verifyWith(parseAnew) : cache.remembering(verifyWith);
}

/**
 * The second step: vouches for the key that signed a report.
 *
 * @param issuers DER, beside those that came along
 * @throws EvidenceError
 */
export function verifySignedSnp(
  signed: SignedSnpReport,
  issuers: readonly Uint8Array[],
  options: ChainOptions,
  parse: Parse,
): VerifiedSnpReport {
  const { report, endorsement } = signed;
  const certificates = [...signed.certificates, ...issuers.map((der) => parse(parseCertificate, der))];
  const chain = verifyChain(parse, endorsement, certificates, options);
  checkProduct(report, endorsement);
  checkChip(report, endorsement);
  checkTcb(report, endorsement);
  checkCommitted(report, endorsement);
  // Who reads a verified report meets no TCB with a reserved part.
  parseTcb(report.launchTcb, endorsement.product, "LAUNCH_TCB");
  return new VerifiedReport(signed, chain);
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
  const want = filledUp(hwid ?? new Uint8Array(), 64);
  if (isEqual(chipId, want)) return;
  throw new EvidenceError("chip_id_mismatch", "the certificate belongs to another chip than the report", {
    where: "CHIP_ID",
    got: toHex(chipId),
    want: toHex(want),
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
