import { z } from "zod";
import { u32le, u64le } from "../../../bytes/numbers.ts";
import { EvidenceError } from "../../error.ts";
import { encodeTcb } from "../../snp/tcb.ts";
import { isLegacyReport, legacyReportFromJson } from "./legacy-report-json.ts";
import { malformed, octets, u32, u64, u8 } from "./numbers.ts";

/**
 * An attestation report as CoCo's attestation agent answers it: not the bytes that the firmware signed, but the fields
 * that the crate `sev` (6.2 to 7.1, `AttestationReport` with serde) read from them. The bytes are made again here, in the
 * order of the firmware ABI (AMD publication 56860, table 23). Reserved ones are zero: the crate reads no report where
 * one is not. A byte that was made wrong is noticed by whoever verifies the signature, which covers all of them.
 *
 * Agents of before guest-components 0.14 have the crate 3 or 4, whose fields are those of C: `legacy-report-json.ts`.
 */

/** `fmc` is null on products that have none; where the others stand depends on that, too. */
const tcb = z
  .strictObject({ fmc: u8.nullable(), bootloader: u8, tee: u8, snp: u8, microcode: u8 })
  .transform(({ fmc, ...others }) => u64le(encodeTcb({ fmc: fmc ?? 0, ...others }, fmc === null ? "Genoa" : "Turin")));
const firmwareVersion = z
  .strictObject({ major: u8, minor: u8, build: u8 })
  .transform(({ major, minor, build }) => Buffer.from([build, minor, major, 0]));

/** Every number is a bigint here; a field that is not known is not left out silently. */
const schema = z.strictObject({
  version: u32,
  guest_svn: u32,
  policy: u64,
  family_id: octets(16),
  image_id: octets(16),
  vmpl: u32,
  sig_algo: u32,
  current_tcb: tcb,
  plat_info: u64,
  key_info: u32,
  report_data: octets(64),
  measurement: octets(48),
  host_data: octets(32),
  id_key_digest: octets(48),
  author_key_digest: octets(48),
  report_id: octets(32),
  report_id_ma: octets(32),
  reported_tcb: tcb,
  cpuid_fam_id: u8.nullable(),
  cpuid_mod_id: u8.nullable(),
  cpuid_step: u8.nullable(),
  chip_id: octets(64),
  committed_tcb: tcb,
  current: firmwareVersion,
  committed: firmwareVersion,
  launch_tcb: tcb,
  // The crate 6.2 has none of these two, and can't tell of a report that has them.
  launch_mit_vector: u64.nullable().default(null),
  current_mit_vector: u64.nullable().default(null),
  signature: z.strictObject({ r: octets(72), s: octets(72) }),
});

type Fields = z.output<typeof schema>;
const FIRST_WITH_CPUID = 3;
const FIRST_WITH_MITIGATIONS = 5;

/**
 * @param json of `readBigJson`
 * @returns the bytes of ATTESTATION_REPORT
 * @throws EvidenceError malformed_report, unsupported_report_version
 */
export function reportFromJson(json: unknown): Buffer {
  requireVersion(json);
  if (isLegacyReport(json)) return legacyReportFromJson(json);
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw malformed("attestation_report", parsed.error);
  const fields = parsed.data;
  requireFieldsOfVersion(fields);
  return Buffer.concat([
    u32le(fields.version),
    u32le(fields.guest_svn),
    u64le(fields.policy),
    fields.family_id,
    fields.image_id,
    u32le(fields.vmpl),
    u32le(fields.sig_algo),
    fields.current_tcb,
    u64le(fields.plat_info),
    u32le(fields.key_info),
    Buffer.alloc(4),
    fields.report_data,
    fields.measurement,
    fields.host_data,
    fields.id_key_digest,
    fields.author_key_digest,
    fields.report_id,
    fields.report_id_ma,
    fields.reported_tcb,
    Buffer.from([fields.cpuid_fam_id ?? 0, fields.cpuid_mod_id ?? 0, fields.cpuid_step ?? 0]),
    Buffer.alloc(21),
    fields.chip_id,
    fields.committed_tcb,
    fields.current,
    fields.committed,
    fields.launch_tcb,
    u64le(fields.launch_mit_vector ?? 0n),
    u64le(fields.current_mit_vector ?? 0n),
    Buffer.alloc(152),
    fields.signature.r,
    fields.signature.s,
    Buffer.alloc(368),
  ]);
}

/** Before all else: a newer one has other fields, and they are not what is wrong with it. */
function requireVersion(json: unknown): void {
  const version = typeof json === "object" && json !== null && "version" in json ? json.version : undefined;
  if (typeof version !== "bigint" || (version >= 2n && version <= 5n)) return;
  throw new EvidenceError("unsupported_report_version", "a version of the report that is not known", {
    where: "attestation_report.version",
    got: `${version}`,
    want: "2 to 5",
  });
}

/** What a version does not have is reserved, and zero: a value there, or none where it has one, is of another report. */
function requireFieldsOfVersion(fields: Fields): void {
  const since = {
    cpuid_fam_id: FIRST_WITH_CPUID,
    cpuid_mod_id: FIRST_WITH_CPUID,
    cpuid_step: FIRST_WITH_CPUID,
    launch_mit_vector: FIRST_WITH_MITIGATIONS,
    current_mit_vector: FIRST_WITH_MITIGATIONS,
  } as const;
  for (const [name, first] of Object.entries(since)) {
    const value = fields[name as keyof typeof since];
    if ((value !== null) === fields.version >= first) continue;
    throw new EvidenceError("malformed_report", "the report has fields of another version", {
      where: `attestation_report.${name}`,
      got: `${value}, in version ${fields.version}`,
      want: `a number since version ${first}, null before`,
    });
  }
}
