import { toHex } from "../../bytes/encode.ts";
import { bits, flag, hex, number, oneOf, text, writeBits } from "../claim-forms.ts";
import type { ClaimExtensions } from "../claim-extensions.ts";
import { type Flag, GUEST_POLICY, isSet, PLATFORM_INFO } from "./flags.ts";
import { SNP_PRODUCTS, type SnpProduct } from "./product.ts";
import type { SnpReport } from "./report.ts";
import { describeTcb, parseTcb, TCB_PARTS, type TcbPart } from "./tcb.ts";
import type { VerifiedSnpReport } from "./verify.ts";

/** What verified evidence says, for logs and for the extensions of certificates. Byte strings are lower-case hex. */
export interface SnpClaims
  extends
    TcbClaims<"reported">,
    TcbClaims<"current">,
    TcbClaims<"committed">,
    TcbClaims<"launch">,
    FlagClaims<"policy", Exclude<keyof typeof GUEST_POLICY, "Debug">>,
    FlagClaims<"platform", keyof typeof PLATFORM_INFO>,
    IdentityClaims,
    VersionClaims {
  readonly tee: "snp";
  readonly product: SnpProduct;
  readonly measurement: string;
  readonly hostData: string;
  readonly chipId: string;
  readonly signingKey: "VCEK" | "VLEK";
  /** Of a VLEK, whose cloud's it is; empty for a VCEK. */
  readonly cspId: string;
  /** All parts, for people. */
  readonly reportedTcb: string;
  readonly vmpl: number;
  /** POLICY lets the host read the memory of the VM. */
  readonly debug: boolean;
  /** It comes from a software TEE and proves nothing about hardware. */
  readonly insecure: boolean;
}

/** One claim for each part of a TCB; parts that the product does not have are zero. */
type TcbClaims<Prefix extends string> = { readonly [Part in TcbPart as `${Prefix}Tcb${Capitalize<Part>}`]: number };

/** One claim for each bit, by the manifest's name for it. */
type FlagClaims<Prefix extends string, Name extends string> = { readonly [N in Name as `${Prefix}${N}`]: boolean };

/** Of the VM, beside its measurement: what the signer of its image says, and what the firmware calls it. */
interface IdentityClaims {
  readonly policyABIMajor: number;
  readonly policyABIMinor: number;
  /** Undefined without an ID block, as are the next three: nobody has signed them then. */
  readonly idKeyDigest: string | undefined;
  readonly familyId: string | undefined;
  readonly imageId: string | undefined;
  readonly guestSvn: number | undefined;
  /** The author key signed the ID key. Otherwise nobody has verified what stands for its digest, and it is undefined. */
  readonly authorKeyEnabled: boolean;
  readonly authorKeyDigest: string | undefined;
  readonly reportData: string;
  readonly reportId: string;
  readonly reportIdMa: string;
}

/** Of the CPU and its firmware. What a report of this version does not have is undefined. */
interface VersionClaims {
  readonly reportVersion: number;
  readonly maskChipKey: boolean;
  readonly currentBuild: number;
  readonly currentMinor: number;
  readonly currentMajor: number;
  readonly committedBuild: number;
  readonly committedMinor: number;
  readonly committedMajor: number;
  readonly cpuidFamily: number | undefined;
  readonly cpuidModel: number | undefined;
  readonly cpuidStepping: number | undefined;
  readonly launchMitigations: string | undefined;
  readonly currentMitigations: string | undefined;
}

export function snpClaims({ report, product, root, signingKey, cspId = "" }: VerifiedSnpReport): SnpClaims {
  const reported = parseTcb(report.reportedTcb, product, "REPORTED_TCB");
  const { Debug, ...policy } = GUEST_POLICY;
  return {
    tee: "snp",
    product,
    measurement: toHex(report.measurement),
    hostData: toHex(report.hostData),
    chipId: toHex(report.chipId),
    signingKey: signingKey === "vcek" ? "VCEK" : "VLEK",
    cspId,
    reportedTcb: describeTcb(reported),
    vmpl: report.vmpl,
    debug: isSet(report.policy, Debug),
    insecure: root.simulated,
    ...identityClaims(report),
    ...versionClaims(report),
    ...flagClaims("policy", report.policy, policy),
    ...flagClaims("platform", report.platformInfo, PLATFORM_INFO),
    ...tcbClaims("reported", report.reportedTcb, product),
    ...tcbClaims("current", report.currentTcb, product),
    ...tcbClaims("committed", report.committedTcb, product),
    ...tcbClaims("launch", report.launchTcb, product),
  };
}

function identityClaims(report: SnpReport): IdentityClaims {
  const isSigned = report.idKeyDigest.some((byte) => byte !== 0);
  return {
    policyABIMajor: Number((report.policy >> 8n) & 0xffn),
    policyABIMinor: Number(report.policy & 0xffn),
    idKeyDigest: isSigned ? toHex(report.idKeyDigest) : undefined,
    familyId: isSigned ? toHex(report.familyId) : undefined,
    imageId: isSigned ? toHex(report.imageId) : undefined,
    guestSvn: isSigned ? report.guestSvn : undefined,
    authorKeyEnabled: report.authorKeyEnabled,
    authorKeyDigest: report.authorKeyEnabled ? toHex(report.authorKeyDigest) : undefined,
    reportData: toHex(report.reportData),
    reportId: toHex(report.reportId),
    reportIdMa: toHex(report.reportIdMa),
  };
}

function versionClaims(report: SnpReport): VersionClaims {
  const { currentVersion, committedVersion, cpuid, mitigations } = report;
  return {
    reportVersion: report.version,
    maskChipKey: report.maskChipKey,
    currentBuild: currentVersion.build,
    currentMinor: currentVersion.minor,
    currentMajor: currentVersion.major,
    committedBuild: committedVersion.build,
    committedMinor: committedVersion.minor,
    committedMajor: committedVersion.major,
    cpuidFamily: cpuid?.family,
    cpuidModel: cpuid?.model,
    cpuidStepping: cpuid?.stepping,
    launchMitigations: mitigations && writeBits(mitigations.launch),
    currentMitigations: mitigations && writeBits(mitigations.current),
  };
}

function tcbClaims<P extends string>(prefix: P, value: bigint, product: SnpProduct): TcbClaims<P> {
  const tcb = parseTcb(value, product, `${prefix.toUpperCase()}_TCB`);
  const named = TCB_PARTS.map((part) => [`${prefix}Tcb${part.charAt(0).toUpperCase()}${part.slice(1)}`, tcb[part]]);
  return Object.fromEntries(named) as TcbClaims<P>;
}

function flagClaims<P extends string, N extends string>(
  prefix: P,
  value: bigint,
  flags: Readonly<Record<N, Flag>>,
): FlagClaims<P, N> {
  const named = Object.entries<Flag>(flags).map(([name, bit]) => [`${prefix}${name}`, isSet(value, bit)]);
  return Object.fromEntries(named) as FlagClaims<P, N>;
}

const signedByte = number("hardware", 0xff);
const signedWord = number("hardware", 0xffffffff);
/** A certificate is for one chip and one TCB. */
const certifiedByte = number("vendor", 0xff);
const signedFlag = flag("hardware");
const signedBits = bits("hardware");
const signedHex = (length: number) => hex("hardware", length);

export const SNP_CLAIM_EXTENSIONS: ClaimExtensions<SnpClaims> = {
  arc: "1.3.9901.2.1",
  forms: {
    tee: oneOf("verifier", ["snp"]),
    product: oneOf("vendor", SNP_PRODUCTS),
    measurement: signedHex(48),
    hostData: signedHex(32),
    chipId: hex("vendor", 64),
    reportedTcb: text("vendor", 64),
    vmpl: signedWord,
    debug: signedFlag,
    insecure: flag("verifier"),
    signingKey: oneOf("vendor", ["VCEK", "VLEK"]),
    // AMD's own have some 20 letters.
    cspId: text("vendor", 64),
    reportVersion: signedWord,
    guestSvn: signedWord,
    policyABIMajor: signedByte,
    policyABIMinor: signedByte,
    policySMT: signedFlag,
    policyMigrateMA: signedFlag,
    policySingleSocket: signedFlag,
    policyCXLAllowed: signedFlag,
    policyMemAES256XTS: signedFlag,
    policyRAPLDis: signedFlag,
    policyCipherTextHidingDRAM: signedFlag,
    policyPageSwapDisable: signedFlag,
    familyId: signedHex(16),
    imageId: signedHex(16),
    platformSMTEnabled: signedFlag,
    platformTSMEEnabled: signedFlag,
    platformECCEnabled: signedFlag,
    platformRAPLDisabled: signedFlag,
    platformCiphertextHidingDRAMEnabled: signedFlag,
    platformAliasCheckComplete: signedFlag,
    platformTIOEnabled: signedFlag,
    authorKeyEnabled: signedFlag,
    maskChipKey: signedFlag,
    reportData: signedHex(64),
    idKeyDigest: signedHex(48),
    authorKeyDigest: signedHex(48),
    reportId: signedHex(32),
    reportIdMa: signedHex(32),
    currentTcbFmc: signedByte,
    currentTcbBootloader: signedByte,
    currentTcbTee: signedByte,
    currentTcbSnp: signedByte,
    currentTcbMicrocode: signedByte,
    reportedTcbFmc: certifiedByte,
    reportedTcbBootloader: certifiedByte,
    reportedTcbTee: certifiedByte,
    reportedTcbSnp: certifiedByte,
    reportedTcbMicrocode: certifiedByte,
    committedTcbFmc: signedByte,
    committedTcbBootloader: signedByte,
    committedTcbTee: signedByte,
    committedTcbSnp: signedByte,
    committedTcbMicrocode: signedByte,
    launchTcbFmc: signedByte,
    launchTcbBootloader: signedByte,
    launchTcbTee: signedByte,
    launchTcbSnp: signedByte,
    launchTcbMicrocode: signedByte,
    currentBuild: signedByte,
    currentMinor: signedByte,
    currentMajor: signedByte,
    committedBuild: signedByte,
    committedMinor: signedByte,
    committedMajor: signedByte,
    cpuidFamily: signedByte,
    cpuidModel: signedByte,
    cpuidStepping: signedByte,
    launchMitigations: signedBits,
    currentMitigations: signedBits,
  },
  brief: [
    "tee",
    "product",
    "measurement",
    "hostData",
    "chipId",
    "signingKey",
    "cspId",
    "reportedTcb",
    "vmpl",
    "debug",
    "insecure",
  ],
};
