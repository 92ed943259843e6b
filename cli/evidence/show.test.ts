import { afterAll, beforeAll, expect, test } from "vitest";
import type { EvidenceCode } from "../../attestation/error.ts";
import { encodeSnpReport } from "../../attestation/snp/report.ts";
import { reportOf } from "../../attestation/snp/test-vendor.ts";
import { SGX_OID } from "../../attestation/tdx/pck.ts";
import { createTestVendor, makeEvidence, pckExtensions, type TestVendor } from "../../attestation/tdx/test-vendor.ts";
import { encodeDer } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { render } from "../../report/print.ts";
import { describeEvidence, showEvidence } from "./show.ts";
import { type Folder, makeContext, makeFolder } from "./test-command.ts";

const NOW = new Date("2026-06-01T00:00:00Z");
const signature = Buffer.alloc(96, 0x51);
let folder: Folder;
let vendor: TestVendor;

beforeAll(async () => {
  folder = makeFolder();
  vendor = await createTestVendor();
});

afterAll(() => folder.remove());

const refusal = (code: EvidenceCode, where: string): unknown =>
  expect.objectContaining({ code, where: expect.stringContaining(where) as string });

test("a report of Turin, version 5, is shown with bits, parts of TCBs and mitigations", () => {
  const report = encodeSnpReport({ ...reportOf("Turin", "vlek"), platformInfo: 0x62n, signature });
  const shown = describeEvidence(report);
  expect(shown).toMatchObject({
    kind: "snp-report",
    product: "Turin",
    VERSION: 5,
    POLICY_BITS: { SMT: true, DEBUG: false },
    PLATFORM_INFO: "0x62",
    PLATFORM_INFO_BITS: { SMT_EN: false, TSME_EN: true, ALIAS_CHECK_COMPLETE: true },
    SIGNING_KEY: 1,
    SIGNING_KEY_NAME: "VLEK",
    CPUID_FAM_ID: 0x1a,
    CURRENT_TCB: "0xc800000004030201",
    CURRENT_TCB_PARTS: { FMC: 1, BOOT_LOADER: 2, TEE: 3, SNP: 4, MICROCODE: 200 },
    LAUNCH_MIT_VECTOR: "0x1",
    CURRENT_MIT_VECTOR: "0x3",
    SIGNATURE: { R: "51".repeat(48) + "00".repeat(24), S: "51".repeat(48) + "00".repeat(24) },
  });
});

test("a report that names no product is shown without parts of TCBs", () => {
  const fields = { ...reportOf("Milan", "vcek"), version: 2, cpuid: undefined, signature };
  const shown = JSON.parse(render(describeEvidence(encodeSnpReport(fields)), "json")) as Record<string, unknown>;
  expect(shown).toMatchObject({ VERSION: 2, CURRENT_TCB: expect.stringMatching(/^0x[0-9a-f]+$/) as string });
  for (const name of ["product", "CURRENT_TCB_PARTS", "CPUID_FAM_ID", "LAUNCH_MIT_VECTOR"]) {
    expect(name in shown).toBe(false);
  }
});

test("a quote is shown with the chain of its platform", () => {
  const shown = describeEvidence(makeEvidence(vendor, { version: 5 }).quote);
  expect(shown).toMatchObject({
    kind: "tdx-quote",
    BODY_TYPE: 3,
    TDATTRIBUTES: "0000001000000000",
    TDATTRIBUTES_BITS: { DEBUG: false, SEPT_VE_DISABLE: true },
    MRCONFIGID: "40".repeat(32) + "00".repeat(16),
    PCK_CERTIFICATE_CHAIN: [
      { SUBJECT: "Intel SGX Root CA" },
      { SUBJECT: "Intel SGX PCK Platform CA" },
      { SUBJECT: "Intel SGX PCK Certificate", SERIAL: "2001" },
    ],
    PCK: {
      FMSPC: "90c06f000000",
      PCEID: "0000",
      PCESVN: 300,
      SGX_TYPE: "ScalableWithIntegrity",
      PIID: "22".repeat(16),
      CONFIGURATION: { DYNAMIC_PLATFORM: false, CACHED_KEYS: false, SMT_ENABLED: false },
    },
  });
});

test("a platform of which the certificate says less is shown without what it does not say", () => {
  const extensions = pckExtensions({
    [SGX_OID.sgxType]: encodeDer(TAG.enumerated, Buffer.of(9)),
    [SGX_OID.piid]: undefined,
    [SGX_OID.configuration]: undefined,
  });
  const shown = JSON.parse(
    render(describeEvidence(makeEvidence(vendor, { pck: { extensions } }).quote), "json"),
  ) as Record<string, Record<string, unknown>>;
  expect(shown["PCK"]).toMatchObject({ SGX_TYPE: "9", FMSPC: "90c06f000000" });
  for (const name of ["PIID", "CONFIGURATION"]) expect(name in (shown["PCK"] ?? {})).toBe(false);
});

test("bytes of a certificate can't write to the terminal", async () => {
  const subject = "PCK\u001b]0;title\u0007\u202e\u{e0001}\nMRTD: 00";
  const { quote } = makeEvidence(vendor, { pck: { subject } });
  for (const format of ["text", "json"] as const) {
    const { context, output } = makeContext(NOW, format);
    await showEvidence(context, folder.put("quote.bin", quote));
    const text = output.join("");
    expect(text).toMatch(/PCK.*u001b\]0;title.*u0007.*u202e.*udb40.*udc01.*MRTD: 00/);
    expect(text).toMatch(/^[\x20-\x7e\n]*$/);
    expect(text.match(/^ *"?MRTD"?: /gm)).toHaveLength(1);
  }
});

test("malformed evidence is refused with field and offset", () => {
  const report = encodeSnpReport({ ...reportOf("Milan", "vcek"), signature });
  const { quote } = makeEvidence(vendor);
  const changed = (bytes: Uint8Array, offset: number, byte: number): Uint8Array => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(byte, offset);
    return copy;
  };
  for (const [bytes, code, where] of [
    [changed(report, 0x4c, 1), "malformed_report", "RESERVED_4C"],
    [changed(report, 0x3a, 1), "malformed_report", "CURRENT_TCB, byte 2"],
    [changed(report, 0, 9), "unsupported_report_version", "VERSION"],
    [report.subarray(1), "malformed_report", "offset 0x0"],
    [report.subarray(0, -1), "malformed_report", "ATTESTATION_REPORT"],
    [changed(quote, 0, 3), "unsupported_report_version", "version"],
    [changed(quote, 8, 1), "malformed_report", "header reserved"],
    [quote.subarray(0, 700), "malformed_report", "signature data"],
    [Buffer.concat([Buffer.of(0x81), Buffer.alloc(1023)]), "malformed_report", "TEE_TCB_INFO_HASH"],
    [Buffer.concat([Buffer.of(0x81), Buffer.alloc(99)]), "malformed_report", "TEE_INFO_HASH"],
    [Buffer.alloc(0), "malformed_report", "offset 0x0"],
    [Buffer.from("hello, world"), "malformed_report", "offset 0x0"],
  ] as const) {
    expect(() => describeEvidence(bytes)).toThrow(refusal(code, where));
  }
  expect(() => describeEvidence(changed(report, 0x4c, 1))).toThrow("offset 0x4c");
  expect(() => describeEvidence(Buffer.concat([Buffer.of(0x81), Buffer.alloc(1023)]))).toThrow("offset 0x20");
});

test("a file of more than a mebibyte is refused, a missing one is the user's fault", async () => {
  const { context } = makeContext(NOW, "text");
  const large = folder.put("large.bin", Buffer.alloc(2 ** 20 + 1));
  await expect(showEvidence(context, large)).rejects.toThrow(refusal("malformed_report", large));
  await expect(showEvidence(context, "/no/such/file")).rejects.toThrow(
    expect.objectContaining({ code: "unreadable_file", where: "/no/such/file", got: "ENOENT" }),
  );
});
