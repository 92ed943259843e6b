import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { assert, constantFrom, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";
import { isEqual, toHex, toUtf8 } from "../../../bytes/encode.ts";
import { MACHINE_REPORT } from "../../simulated/machine.ts";
import { encodeSnpReport, type SnpReportFields } from "../../snp/report.ts";
import { readCocoEvidence } from "./evidence-json.ts";
import { cocoSnpJson, legacyCocoSnpJson } from "./test-coco-api.ts";

/** Answers of the attestation agent, with what the reports were. They lie beside the checkout, not in it. */
const VECTORS = join(import.meta.dirname, "../../../../shared/vectors");
const available = existsSync(join(VECTORS, "coco-aa"));

const read = (...path: string[]): Uint8Array => readFileSync(join(VECTORS, ...path));

if (!available) test.skip("recorded answers of CoCo's attestation agent: there is no ../shared/vectors/coco-aa");

describe.runIf(available)("recorded answers of CoCo's attestation agent", () => {
  const SNP = ["snp-milan-v2-google", "snp-milan-v3-aci", "snp-genoa-v3-aci"];

  test.each(SNP)("%s: the report comes out byte for byte", (name) => {
    const evidence = readCocoEvidence(read("coco-aa", `${name}.json`));
    if (evidence.kind !== "snp") throw new Error(evidence.kind);
    expect(isEqual(evidence.report, read(name, "report.bin"))).toBe(true);
    expect(evidence.certificates).toHaveLength(1);
  });

  test.each(SNP)("%s: the kit of the tests makes the same document", (name) => {
    const recorded: unknown = JSON.parse(toUtf8(read("coco-aa", `${name}.json`)));
    const evidence = readCocoEvidence(read("coco-aa", `${name}.json`));
    if (evidence.kind !== "snp") throw new Error(evidence.kind);
    expect(JSON.parse(cocoSnpJson(evidence))).toEqual(recorded);
  });

  test("tdx-v4-google-spr: the quote comes out byte for byte", () => {
    const evidence = readCocoEvidence(read("coco-aa", "tdx-v4-google-spr.json"));
    if (evidence.kind !== "tdx") throw new Error(evidence.kind);
    expect(isEqual(evidence.quote, read("tdx-v4-google-spr", "quote.bin"))).toBe(true);
  });
});

describe("an SNP report out of JSON", () => {
  const FIELDS: SnpReportFields = {
    ...MACHINE_REPORT,
    hostData: Buffer.alloc(32, 1),
    reportData: Buffer.alloc(64, 2),
    measurement: Buffer.alloc(48, 3),
    chipId: Buffer.alloc(64, 4),
    familyId: Buffer.alloc(16, 5),
    imageId: Buffer.alloc(16, 6),
    guestSvn: 3,
    idKeyDigest: Buffer.alloc(48, 7),
    authorKeyDigest: Buffer.alloc(48, 8),
    reportId: Buffer.alloc(32, 9),
    signature: Buffer.alloc(96, 10),
  };
  const report = (changes: Partial<SnpReportFields> = {}): Uint8Array => encodeSnpReport({ ...FIELDS, ...changes });
  const json = (bytes: Uint8Array): string => cocoSnpJson({ kind: "snp", report: bytes, certificates: [] });
  const again = (text: string): Uint8Array => {
    const evidence = readCocoEvidence(Buffer.from(text));
    if (evidence.kind !== "snp") throw new Error(evidence.kind);
    return evidence.report;
  };

  const MITIGATIONS = { launch: 0xffff_ffff_ffff_fffdn, current: (1n << 53n) + 1n };
  const TURIN = {
    cpuid: { family: 0x1a, model: 2, stepping: 1 },
    currentTcb: 0x0800_0000_0504_0302n,
    reportedTcb: 0x0900_0000_0504_0302n,
    committedTcb: 0x0a00_0000_0504_0302n,
    launchTcb: 0x0700_0000_0403_0201n,
  };
  test.each<[string, Partial<SnpReportFields>]>([
    ["version 2", { version: 2, cpuid: undefined }],
    ["version 3", { version: 3 }],
    ["version 4", { version: 4 }],
    ["version 5, with numbers that no double has", { version: 5, mitigations: MITIGATIONS }],
    ["version 5 of Turin", { version: 5, mitigations: MITIGATIONS, ...TURIN }],
    ["a key that the host masks, and a VLEK", { maskChipKey: true, signingKey: "vlek", authorKeyEnabled: true }],
  ])("%s comes out byte for byte", (_, changes) => {
    const bytes = report(changes);
    expect(toHex(again(json(bytes)))).toBe(toHex(bytes));
    const legacy = legacyCocoSnpJson({ kind: "snp", report: bytes, certificates: [] });
    expect(toHex(again(legacy))).toBe(toHex(bytes));
  });

  test("whatever is in the fields comes out byte for byte", () => {
    const fill = uint8Array({ minLength: 64, maxLength: 64 }).map((bytes) => Buffer.from(bytes));
    assert(
      property(fill, fill, constantFrom(2, 3, 4, 5), (some, others, version) => {
        const bytes = report({
          version,
          cpuid: version < 3 ? undefined : { family: 0x19, model: 1, stepping: 1 },
          mitigations: version < 5 ? undefined : { launch: some.readBigUInt64LE(), current: others.readBigUInt64LE() },
          reportData: some,
          chipId: others,
          measurement: others.subarray(0, 48),
          platformInfo: some.readBigUInt64LE(8),
          guestSvn: others.readUInt32LE(8),
        });
        expect(isEqual(again(json(bytes)), bytes)).toBe(true);
      }),
    );
  });

  const edited = (edit: (document: Record<string, unknown>, whole: Record<string, unknown>) => void): string => {
    const whole = JSON.parse(json(report())) as Record<string, unknown>;
    edit(whole["attestation_report"] as Record<string, unknown>, whole);
    return JSON.stringify(whole);
  };

  test.each<[string, string, object]>([
    [
      "a version that is not known",
      edited((fields) => (fields["version"] = 6)),
      { code: "unsupported_report_version", got: "6" },
    ],
    [
      "a field that is not known",
      edited((fields) => (fields["new_field"] = 1)),
      { code: "malformed_report", got: expect.stringContaining("new_field") },
    ],
    [
      "a field of the crate sev 4 among those of 6",
      edited((fields) => (fields["_author_key_en"] = 1)),
      { code: "malformed_report", where: "attestation_report.current_tcb._reserved" },
    ],
    [
      "a field less",
      edited((fields) => delete fields["key_info"]),
      { code: "malformed_report", where: "attestation_report.key_info" },
    ],
    [
      "a byte of 256",
      edited((fields) => ((fields["chip_id"] as number[])[3] = 256)),
      { code: "malformed_report", where: "attestation_report.chip_id[3]" },
    ],
    [
      "a byte that is no integer",
      edited((fields) => ((fields["chip_id"] as number[])[3] = 1.5)),
      { code: "malformed_report", where: "attestation_report.chip_id[3]" },
    ],
    [
      "a negative number",
      edited((fields) => (fields["policy"] = -1)),
      { code: "malformed_report", where: "attestation_report.policy" },
    ],
    [
      "a field too short",
      edited((fields) => (fields["host_data"] as number[]).pop()),
      { code: "malformed_report", where: "attestation_report.host_data" },
    ],
    [
      "a version 3 without a product",
      edited((fields) => (fields["cpuid_step"] = null)),
      { code: "malformed_report", where: "attestation_report.cpuid_step", got: "null, in version 3" },
    ],
    [
      "a version 3 with mitigations",
      edited((fields) => (fields["launch_mit_vector"] = 1)),
      { code: "malformed_report", where: "attestation_report.launch_mit_vector" },
    ],
    [
      "a version 5 of the crate sev 6.2, which has no mitigations",
      edited((fields) => {
        fields["version"] = 5;
        delete fields["launch_mit_vector"];
        delete fields["current_mit_vector"];
      }),
      { code: "malformed_report", where: "attestation_report.launch_mit_vector", got: "null, in version 5" },
    ],
    [
      "another field beside the report",
      edited((_, whole) => (whole["additional"] = 1)),
      { code: "malformed_report", where: "$" },
    ],
    [
      "a certificate that is none",
      edited((_, whole) => (whole["cert_chain"] = [{ cert_type: "VCEK", data: [1, 2, 3] }])),
      { code: "malformed_certificate" },
    ],
    [
      "a sample, which proves nothing",
      '{"svn":"1","report_data":"AA=="}',
      { code: "malformed_report", got: "a sample, which the agent makes where it finds no TEE" },
    ],
    [
      "evidence of Azure's vTPM",
      '{"version":1,"tpm_quote":{},"hcl_report":[]}',
      { code: "malformed_report", got: expect.stringContaining("tpm_quote") },
    ],
    ["a quote that is no base64", '{"cc_eventlog":null,"quote":"*"}', { code: "malformed_report", where: "$.quote" }],
    ["no JSON", "<html>", { code: "malformed_report", got: '"<html>"' }],
    ["nothing", "", { code: "malformed_report" }],
    ["a list", "[]", { code: "malformed_report", got: "no object" }],
  ])("%s is refused by name", (_, text, refusal) => {
    expect(() => readCocoEvidence(Buffer.from(text))).toThrow(expect.objectContaining(refusal) as Error);
  });

  test("a version 3 of the crate sev 6.2, which has no mitigations, comes out byte for byte", () => {
    const text = edited((fields) => {
      delete fields["launch_mit_vector"];
      delete fields["current_mit_vector"];
    });
    expect(isEqual(again(text), report())).toBe(true);
  });

  test("the event log of earlier agents is none of our business", () => {
    const quote = Buffer.from("a quote").toString("base64");
    const text = JSON.stringify({ cc_eventlog: "AA==", quote, aa_eventlog: "INIT" });
    expect(readCocoEvidence(Buffer.from(text))).toEqual({ kind: "tdx", quote: Buffer.from("a quote") });
  });

  test("entries of the host's table that belong to no chain are left out", () => {
    const others = [
      { cert_type: { OTHER: "00112233-4455-6677-8899-aabbccddeeff" }, data: [1] },
      { cert_type: "CRL", data: [2] },
      { cert_type: "Empty", data: [] },
    ];
    const evidence = readCocoEvidence(Buffer.from(edited((_, whole) => (whole["cert_chain"] = others))));
    expect(evidence).toMatchObject({ kind: "snp", certificates: [] });
    expect(readCocoEvidence(Buffer.from(edited((_, whole) => (whole["cert_chain"] = null))))).toMatchObject({
      certificates: [],
    });
  });
});
