import { Cursor, MalformedBytes } from "../../bytes/cursor.ts";
import { concat, filledUp } from "../../bytes/encode.ts";
import { u32le, u64le } from "../../bytes/numbers.ts";
import { EvidenceError } from "../error.ts";
import { refusing } from "../malformed.ts";

/**
 * ATTESTATION_REPORT of the SEV-SNP firmware ABI (AMD publication 56860, table 23), versions 2 to 5, all little-endian.
 *
 * Every byte is accounted for: what parses, encodes to the same bytes again. Reserved bytes must be zero. Bits of POLICY
 * and PLATFORM_INFO that have no meaning here are kept as they are: newer firmware sets them (Turin sets bit 6 of
 * PLATFORM_INFO), and none of them can take back what a known bit says.
 */

export const REPORT_SIZE = 0x4a0;
export const SIGNED_SIZE = 0x2a0;

type SigningKey = "vcek" | "vlek" | "none";
const SIGNING_KEYS: ReadonlyMap<number, SigningKey> = new Map([
  [0, "vcek"],
  [1, "vlek"],
  [7, "none"],
]);

export interface FirmwareVersion {
  readonly build: number;
  readonly minor: number;
  readonly major: number;
}

export interface Cpuid {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

/** What a report says. A TCB is a u64 here because its layout depends on the product. */
export interface SnpReportFields {
  readonly version: number;
  readonly guestSvn: number;
  readonly policy: bigint;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly vmpl: number;
  readonly currentTcb: bigint;
  readonly platformInfo: bigint;
  readonly authorKeyEnabled: boolean;
  /** The host hides the chip: CHIP_ID is zero. */
  readonly maskChipKey: boolean;
  readonly signingKey: SigningKey;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** 48 bytes. */
  readonly measurement: Uint8Array;
  /** 32 bytes. */
  readonly hostData: Uint8Array;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  readonly reportedTcb: bigint;
  /** Undefined in version 2, which names no product. */
  readonly cpuid: Cpuid | undefined;
  /** 64 bytes. */
  readonly chipId: Uint8Array;
  readonly committedTcb: bigint;
  readonly currentVersion: FirmwareVersion;
  readonly committedVersion: FirmwareVersion;
  readonly launchTcb: bigint;
  /** Undefined before version 5. */
  readonly mitigations: { readonly launch: bigint; readonly current: bigint } | undefined;
  /** ECDSA P-384, r ‖ s, big-endian, 96 bytes (IEEE P1363). */
  readonly signature: Uint8Array;
}

export interface SnpReport extends SnpReportFields {
  readonly raw: Uint8Array;
  /** The bytes that the signature covers. */
  readonly signed: Uint8Array;
}

/** @throws EvidenceError malformed_report, unsupported_report_version */
export function parseSnpReport(bytes: Uint8Array): SnpReport {
  if (bytes.length !== REPORT_SIZE) {
    throw new EvidenceError("malformed_report", "a report has one size", {
      where: "ATTESTATION_REPORT",
      got: `${bytes.length} bytes`,
      want: `${REPORT_SIZE} bytes`,
    });
  }
  const report = new Cursor(bytes);
  const fields = refusing("malformed_report", () => readFields(report));
  const raw = report.since(0);
  return { ...fields, raw, signed: raw.subarray(0, SIGNED_SIZE) };
}

function readFields(report: Cursor): SnpReportFields {
  const version = report.u32le("VERSION");
  if (version < 2 || version > 5) {
    throw new EvidenceError("unsupported_report_version", "a version of the report that is not known", {
      where: "VERSION",
      got: `${version}`,
      want: "2 to 5",
    });
  }
  const guestSvn = report.u32le("GUEST_SVN");
  const policy = report.u64le("POLICY");
  // Bit 17 is reserved and must be one.
  if ((policy & (1n << 17n)) === 0n) throw new MalformedBytes("POLICY", 0x08, "bit 17 zero", "bit 17 one");
  const familyId = report.bytes(16, "FAMILY_ID");
  const imageId = report.bytes(16, "IMAGE_ID");
  const vmpl = report.u32le("VMPL");
  const signatureAlgo = report.u32le("SIGNATURE_ALGO");
  if (signatureAlgo !== 1) {
    throw new MalformedBytes("SIGNATURE_ALGO", 0x34, `${signatureAlgo}`, "1 (ECDSA P-384 with SHA-384)");
  }
  const currentTcb = report.u64le("CURRENT_TCB");
  const platformInfo = report.u64le("PLATFORM_INFO");
  const keyInfo = readKeyInfo(report);
  report.zeros(4, "RESERVED_4C");
  const reportData = report.bytes(64, "REPORT_DATA");
  const measurement = report.bytes(48, "MEASUREMENT");
  const hostData = report.bytes(32, "HOST_DATA");
  const idKeyDigest = report.bytes(48, "ID_KEY_DIGEST");
  const authorKeyDigest = report.bytes(48, "AUTHOR_KEY_DIGEST");
  const reportId = report.bytes(32, "REPORT_ID");
  const reportIdMa = report.bytes(32, "REPORT_ID_MA");
  const reportedTcb = report.u64le("REPORTED_TCB");
  const cpuid = readCpuid(report, version);
  report.zeros(21, "RESERVED_18B");
  const chipId = report.bytes(64, "CHIP_ID");
  const committedTcb = report.u64le("COMMITTED_TCB");
  const currentVersion = readVersion(report, "CURRENT");
  const committedVersion = readVersion(report, "COMMITTED");
  const launchTcb = report.u64le("LAUNCH_TCB");
  const mitigations = readMitigations(report, version);
  report.zeros(SIGNED_SIZE - report.offset, "RESERVED_208");
  const r = readScalar(report, "SIGNATURE.R");
  const s = readScalar(report, "SIGNATURE.S");
  report.zeros(REPORT_SIZE - report.offset, "RESERVED_330");
  return {
    version,
    guestSvn,
    policy,
    familyId,
    imageId,
    vmpl,
    currentTcb,
    platformInfo,
    ...keyInfo,
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportIdMa,
    reportedTcb,
    cpuid,
    chipId,
    committedTcb,
    currentVersion,
    committedVersion,
    launchTcb,
    mitigations,
    signature: concat(r, s),
  };
}

/** Bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 2 to 4 SIGNING_KEY, the rest reserved. */
function readKeyInfo(report: Cursor): Pick<SnpReportFields, "authorKeyEnabled" | "maskChipKey" | "signingKey"> {
  const flags = report.u32le("KEY_INFO");
  const signingKey = SIGNING_KEYS.get(flags >>> 2);
  if (signingKey === undefined) {
    throw new MalformedBytes("KEY_INFO", 0x48, `0x${flags.toString(16)}`, "SIGNING_KEY 0, 1 or 7, the rest zero");
  }
  return { authorKeyEnabled: (flags & 1) !== 0, maskChipKey: (flags & 2) !== 0, signingKey };
}

function readCpuid(report: Cursor, version: number): Cpuid | undefined {
  if (version < 3) {
    report.zeros(3, "RESERVED_188");
    return undefined;
  }
  const family = report.u8("CPUID_FAM_ID");
  const model = report.u8("CPUID_MOD_ID");
  const stepping = report.u8("CPUID_STEP");
  return { family, model, stepping };
}

function readVersion(report: Cursor, name: string): FirmwareVersion {
  const build = report.u8(`${name}_BUILD`);
  const minor = report.u8(`${name}_MINOR`);
  const major = report.u8(`${name}_MAJOR`);
  report.zeros(1, `RESERVED after ${name}_MAJOR`);
  return { build, minor, major };
}

function readMitigations(report: Cursor, version: number): SnpReportFields["mitigations"] {
  if (version < 5) {
    report.zeros(16, "RESERVED_1F8");
    return undefined;
  }
  const launch = report.u64le("LAUNCH_MIT_VECTOR");
  const current = report.u64le("CURRENT_MIT_VECTOR");
  return { launch, current };
}

/** 72 bytes little-endian, of which a P-384 scalar fills 48; here big-endian. */
function readScalar(report: Cursor, field: string): Uint8Array {
  const scalar = report.bytes(48, field).toReversed();
  report.zeros(24, field);
  return scalar;
}

/** The inverse of `parseSnpReport`. Fields that the version does not have must be undefined. */
export function encodeSnpReport(fields: SnpReportFields): Uint8Array {
  const [keyNumber = NaN] = [...SIGNING_KEYS].find(([, name]) => name === fields.signingKey) ?? [];
  const flags = (fields.authorKeyEnabled ? 1 : 0) | (fields.maskChipKey ? 2 : 0) | (keyNumber << 2);
  const { cpuid, mitigations } = fields;
  return concat(
    u32le(fields.version),
    u32le(fields.guestSvn),
    u64le(fields.policy),
    exactly(16, fields.familyId),
    exactly(16, fields.imageId),
    u32le(fields.vmpl),
    u32le(1),
    u64le(fields.currentTcb),
    u64le(fields.platformInfo),
    u32le(flags),
    new Uint8Array(4),
    exactly(64, fields.reportData),
    exactly(48, fields.measurement),
    exactly(32, fields.hostData),
    exactly(48, fields.idKeyDigest),
    exactly(48, fields.authorKeyDigest),
    exactly(32, fields.reportId),
    exactly(32, fields.reportIdMa),
    u64le(fields.reportedTcb),
    Uint8Array.from(cpuid === undefined ? [0, 0, 0] : [cpuid.family, cpuid.model, cpuid.stepping]),
    new Uint8Array(21),
    exactly(64, fields.chipId),
    u64le(fields.committedTcb),
    encodeVersion(fields.currentVersion),
    encodeVersion(fields.committedVersion),
    u64le(fields.launchTcb),
    u64le(mitigations?.launch ?? 0n),
    u64le(mitigations?.current ?? 0n),
    new Uint8Array(SIGNED_SIZE - 0x208),
    encodeScalar(exactly(96, fields.signature).subarray(0, 48)),
    encodeScalar(fields.signature.subarray(48)),
    new Uint8Array(REPORT_SIZE - 0x330),
  );
}

function encodeVersion({ build, minor, major }: FirmwareVersion): Uint8Array {
  return Uint8Array.from([build, minor, major, 0]);
}

function encodeScalar(scalar: Uint8Array): Uint8Array {
  return filledUp(scalar.toReversed(), 72);
}

function exactly(length: number, bytes: Uint8Array): Uint8Array {
  if (bytes.length !== length) throw new RangeError(`got ${bytes.length} bytes, want ${length}`);
  return bytes;
}
