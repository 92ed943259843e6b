import { z } from "zod";
import { u32le, u64le } from "../../../bytes/numbers.ts";
import { malformed, octets, u32, u64, u8 } from "./numbers.ts";

/**
 * The report as the crate `sev` 3 and 4 writes it: its structures are those of the firmware ABI, reserved bytes included,
 * so that each field stands for its bytes. What a later version of the report has is in fields that were reserved then.
 */
const tcb = z
  .strictObject({ bootloader: u8, tee: u8, _reserved: octets(4), snp: u8, microcode: u8 })
  .transform(({ bootloader, tee, _reserved, snp, microcode }) =>
    Buffer.concat([Buffer.from([bootloader, tee]), _reserved, Buffer.from([snp, microcode])]),
  );

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
  _author_key_en: u32,
  _reserved_0: u32,
  report_data: octets(64),
  measurement: octets(48),
  host_data: octets(32),
  id_key_digest: octets(48),
  author_key_digest: octets(48),
  report_id: octets(32),
  report_id_ma: octets(32),
  reported_tcb: tcb,
  _reserved_1: octets(24),
  chip_id: octets(64),
  committed_tcb: tcb,
  current_build: u8,
  current_minor: u8,
  current_major: u8,
  _reserved_2: u8,
  committed_build: u8,
  committed_minor: u8,
  committed_major: u8,
  _reserved_3: u8,
  launch_tcb: tcb,
  _reserved_4: octets(168),
  signature: z.strictObject({ r: octets(72), s: octets(72), _reserved: octets(368) }),
});

/** By a field that no other form has. */
export function isLegacyReport(json: unknown): boolean {
  return typeof json === "object" && json !== null && "_author_key_en" in json;
}

/** @throws EvidenceError malformed_report */
export function legacyReportFromJson(json: unknown): Buffer {
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw malformed("attestation_report", parsed.error);
  const fields = parsed.data;
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
    u32le(fields._author_key_en),
    u32le(fields._reserved_0),
    fields.report_data,
    fields.measurement,
    fields.host_data,
    fields.id_key_digest,
    fields.author_key_digest,
    fields.report_id,
    fields.report_id_ma,
    fields.reported_tcb,
    fields._reserved_1,
    fields.chip_id,
    fields.committed_tcb,
    Buffer.from([fields.current_build, fields.current_minor, fields.current_major, fields._reserved_2]),
    Buffer.from([fields.committed_build, fields.committed_minor, fields.committed_major, fields._reserved_3]),
    fields.launch_tcb,
    fields._reserved_4,
    fields.signature.r,
    fields.signature.s,
    fields.signature._reserved,
  ]);
}
