import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AMD_OID } from "../../attestation/snp/certificate.ts";
import { encodeTcb } from "../../attestation/snp/tcb.ts";
import { SGX_OID } from "../../attestation/tdx/pck.ts";
import { pem } from "../../attestation/tdx/test-vendor.ts";
import * as intel from "../../attestation/tdx/test-vendor.ts";
import * as amd from "../../attestation/snp/test-vendor.ts";
import { toBase64, toUtf8 } from "../../bytes/encode.ts";
import { encodeDer, encodeInteger } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import type { EvidenceOptions } from "./request.ts";
import { type Folder, makeContext, makeFolder, verdictOf } from "./test-command.ts";
import { verifyEvidence } from "./verify.ts";

const NOW = amd.NOW;
let folder: Folder;
let amdVendor: amd.TestVendor;
let intelVendor: intel.TestVendor;

beforeAll(async () => {
  folder = makeFolder();
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
});

afterAll(() => folder.remove());

/** Files of evidence that is right but for the scenario; the test vendor is the trust anchor. */
function snpFiles(scenario: amd.Scenario = {}): EvidenceOptions & { snp: string; vcek: string; trustAnchor: string[] } {
  const { report, certificates } = amd.makeEvidence(amdVendor, scenario);
  const [leaf, ask, ark] = certificates as [Uint8Array, Uint8Array, Uint8Array];
  return {
    snp: folder.put("report.bin", report),
    vcek: folder.put("vcek.der", leaf),
    certChain: folder.put("chain.pem", pem(ask)),
    trustAnchor: [folder.put("ark.pem", pem(ark))],
  };
}

function tdxFiles(scenario: intel.Scenario = {}): EvidenceOptions & { tdx: string; trustAnchor: string[] } {
  const { quote, collateral } = intel.makeEvidence(intelVendor, scenario);
  if (collateral === undefined) throw new Error("no collateral");
  return {
    tdx: folder.put("quote.bin", quote),
    tcbInfo: folder.put("tcb-info.json", collateral.tcbInfo),
    tcbSigningChain: folder.put("signing-chain.pem", collateral.signingChain),
    qeIdentity: folder.put("qe-identity.json", collateral.qeIdentity),
    pckCrl: folder.put("pck.crl", collateral.pckCrl),
    rootCaCrl: folder.put("root.crl", collateral.rootCrl),
    trustAnchor: [folder.put("signing-chain.pem", collateral.signingChain)],
  };
}

const verify = (options: EvidenceOptions) => verdictOf(NOW, options);

const MEASUREMENT = "3e".repeat(48);
const POLICY = "40".repeat(32);
const TCB = { BootloaderVersion: 0, TEEVersion: 0, SNPVersion: 0, MicrocodeVersion: 0 };
const snpSet = { ProductName: "Milan", TrustedMeasurement: MEASUREMENT, MinimumTCB: TCB };
const tdxSet = {
  MrTd: "aa".repeat(48),
  MrSeam: "5a".repeat(48),
  Rtmrs: ["01", "02", "03", "00"].map((byte) => byte.repeat(48)),
  Xfam: "e702060000000000",
  MinimumTeeTcbSvn: "00".repeat(16),
};

function manifest(ReferenceValues: object, policy = POLICY): string {
  const document = {
    Policies: { [policy]: { SANs: ["web"] } },
    ReferenceValues,
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
  };
  return folder.put("manifest.json", JSON.stringify(document));
}

describe("a report", () => {
  test("is verified up to the trust anchor, and the verdict says that this is not the vendor's", async () => {
    const verdict = await verify(snpFiles());
    expect(Object.keys(verdict)).toEqual([
      "verified",
      "code",
      "message",
      "field",
      "got",
      "want",
      "tcbStatus",
      "advisories",
      "claims",
      "warnings",
      "insecure",
      "exit",
    ]);
    expect(verdict).toMatchObject({ exit: 0, verified: true, code: "ok", tcbStatus: null, advisories: [] });
    expect(verdict.claims).toMatchObject({ tee: "snp", product: "Milan", measurement: MEASUREMENT, insecure: true });
    expect(verdict.insecure).toContain("INSECURE");
    expect(verdict.warnings).toEqual(["without --crl, revocation is not checked"]);
  });

  test.each(["Turin", "Genoa"] as const)("of %s that a VLEK signed is verified", async (product) => {
    const { vcek, ...options } = snpFiles({ product, kind: "vlek" });
    expect(await verify({ ...options, vlek: vcek, product })).toMatchObject({ exit: 0, claims: { product } });
  });

  test("is refused without the trust anchor, and with another one", async () => {
    const { trustAnchor, ...options } = snpFiles();
    const whole = { ...options, certChain: folder.put("all.pem", all()) };
    expect(await verify(options)).toMatchObject({ exit: 3, code: "certificate_missing" });
    expect(await verify(whole)).toMatchObject({ exit: 3, code: "untrusted_root" });
    expect(await verify({ ...whole, trustAnchor: tdxFiles().trustAnchor })).toMatchObject({
      exit: 3,
      code: "untrusted_root",
      want: "no root is trusted",
    });
    expect(await verify({ ...whole, trustAnchor })).toMatchObject({ exit: 0 });
  });

  test("is refused where one bit of it is another", async () => {
    const { report } = amd.makeEvidence(amdVendor);
    report[0x90] = (report[0x90] ?? 0) ^ 1;
    const verdict = await verify({ ...snpFiles(), snp: folder.put("flipped.bin", report) });
    expect(verdict).toMatchObject({ exit: 3, verified: false, code: "report_signature", field: "SIGNATURE" });
    expect(verdict.want).toContain("SEV-VCEK");
    expect(verdict.claims).toBeNull();
  });

  test("that does not parse is refused with field and offset", async () => {
    const { report } = amd.makeEvidence(amdVendor);
    report[0x4c] = 1;
    const verdict = await verify({ ...snpFiles(), snp: folder.put("reserved.bin", report) });
    expect(verdict).toMatchObject({ exit: 3, code: "malformed_report", field: "RESERVED_4C" });
    expect(verdict.message).toContain("offset 0x4c");
    expect(await verify({ ...snpFiles(), snp: folder.put("large.bin", Buffer.alloc(2 ** 20 + 1)) })).toMatchObject({
      exit: 3,
      code: "malformed_report",
      got: "more than 1048576 bytes",
    });
  });

  test("is judged by the certificate's product and the time that are asked for", async () => {
    const options = snpFiles();
    expect(await verify({ ...options, product: "Milan" })).toMatchObject({ exit: 0 });
    expect(await verify({ ...options, product: "Genoa" })).toMatchObject({
      exit: 3,
      code: "product_mismatch",
      got: "Milan",
      want: "Genoa",
    });
    expect(await verify({ ...options, at: new Date("2041-01-01T00:00:00Z") })).toMatchObject({
      code: "certificate_expired",
    });
  });

  test("is bound to the report data that is asked for", async () => {
    expect(await verify({ ...snpFiles(), reportData: Buffer.alloc(64, 0xda) })).toMatchObject({ exit: 0 });
    expect(await verify({ ...snpFiles(), reportData: Buffer.alloc(64, 0xdb) })).toMatchObject({
      exit: 3,
      code: "report_data_mismatch",
      field: "REPORT_DATA",
      got: "da".repeat(64),
      want: "db".repeat(64),
    });
  });

  test("of a debug VM is refused unless that is allowed, also with a manifest that allows it or says nothing", async () => {
    const debug = snpFiles({ report: { policy: (1n << 16n) | (1n << 17n) | (1n << 19n) } });
    const refused = { exit: 3, code: "debug_allowed", field: "POLICY.Debug", got: "1", want: "0" };
    for (const GuestPolicy of [undefined, { SMT: true, Debug: true }, { SMT: true }]) {
      const options = { ...debug, manifest: manifest({ snp: [{ ...snpSet, GuestPolicy }] }) };
      expect(await verify(options)).toMatchObject(refused);
      expect(await verify({ ...options, allowDebug: true })).toMatchObject({ exit: 0 });
    }
    expect(await verify(debug)).toMatchObject(refused);
    expect(await verify({ ...debug, allowDebug: true })).toMatchObject({ exit: 0, claims: { debug: true } });
  });

  test("allowing debug allows nothing else", async () => {
    const policy = (1n << 16n) | (1n << 17n) | (1n << 18n) | (1n << 19n);
    const options = { ...snpFiles({ report: { policy } }), allowDebug: true as const };
    expect(await verify({ ...options, manifest: manifest({ snp: [snpSet] }) })).toMatchObject({
      exit: 3,
      code: "guest_policy_mismatch",
      field: "POLICY.MigrateMA",
    });
  });

  test("must match a set of reference values and a policy of the manifest", async () => {
    const options = snpFiles();
    expect(await verify({ ...options, manifest: manifest({ snp: [snpSet] }) })).toMatchObject({ exit: 0 });
    const other = { ...snpSet, TrustedMeasurement: "00".repeat(48) };
    expect(await verify({ ...options, manifest: manifest({ snp: [other] }) })).toMatchObject({
      exit: 3,
      code: "measurement_mismatch",
      field: "MEASUREMENT",
      got: MEASUREMENT,
      want: "00".repeat(48),
    });
    for (const values of [{ tdx: [tdxSet] }, { snp: [other, other] }]) {
      expect(await verify({ ...options, manifest: manifest(values) })).toMatchObject({
        exit: 3,
        code: "reference_values_mismatch",
        field: "$.ReferenceValues",
      });
    }
    expect(await verify({ ...options, manifest: manifest({ snp: [snpSet] }, "41".repeat(32)) })).toMatchObject({
      exit: 3,
      code: "policy_not_allowed",
      field: "HOST_DATA",
      got: POLICY,
    });
  });

  test("passes by the signer of its image, where the manifest names that", async () => {
    const { TrustedMeasurement: _, ...platform } = snpSet;
    const product = { FamilyID: "fa".repeat(16), ImageID: "1a".repeat(16), MinimumGuestSVN: 6 };
    const path = manifest({ snp: [{ ...platform, AuthorKeyDigest: "a0".repeat(48), ...product }] });
    const signed = {
      authorKeyEnabled: true,
      authorKeyDigest: Buffer.alloc(48, 0xa0),
      familyId: Buffer.alloc(16, 0xfa),
      imageId: Buffer.alloc(16, 0x1a),
      guestSvn: 6,
    };
    const verdictFor = (report: NonNullable<amd.Scenario["report"]>) =>
      verify({ ...snpFiles({ report }), manifest: path });
    expect(await verdictFor(signed)).toMatchObject({ exit: 0 });
    expect(await verdictFor({ ...signed, guestSvn: 5 })).toMatchObject({
      exit: 3,
      code: "guest_svn_too_low",
      field: "GUEST_SVN",
      got: "5",
      want: "at least 6",
    });
    expect(await verdictFor({})).toMatchObject({ exit: 3, code: "image_mismatch", field: "AUTHOR_KEY_EN" });
  });

  test("of a key of old firmware is refused, whatever else it says", async () => {
    const old = { fmc: 0, bootloader: 1, tee: 0, snp: 3, microcode: 10 };
    const parts = ["bootloader", "tee", "snp", "microcode"] as const;
    const changes = Object.fromEntries(parts.map((part) => [AMD_OID[part], encodeInteger(old[part])]));
    const scenario = {
      leaf: { extensions: amd.vcek("Milan", changes) },
      report: { reportedTcb: encodeTcb(old, "Milan") },
    };
    const MinimumTCB = { BootloaderVersion: 4, TEEVersion: 0, SNPVersion: 24, MicrocodeVersion: 219 };
    const path = manifest({ snp: [{ ...snpSet, MinimumTCB }] });
    expect(await verify({ ...snpFiles(), manifest: path })).toMatchObject({ exit: 0 });
    expect(await verify({ ...snpFiles(scenario), manifest: path })).toMatchObject({
      exit: 3,
      code: "tcb_too_low",
      field: "REPORTED_TCB.bootloader",
      got: "bootloader 1, tee 0, snp 3, microcode 10",
    });
  });

  test("of a cloud's key passes only where the manifest names the cloud", async () => {
    const { vcek: vlek, ...files } = snpFiles({ kind: "vlek" });
    const verdictFor = (changes: object) =>
      verify({ ...files, vlek, manifest: manifest({ snp: [{ ...snpSet, ...changes }] }) });
    expect(await verdictFor({ SigningKey: "VLEK", CSPID: "cloud.example" })).toMatchObject({
      exit: 0,
      claims: { signingKey: "VLEK", cspId: "cloud.example" },
    });
    const refused = { exit: 3, code: "signing_key_not_allowed" };
    expect(await verdictFor({})).toMatchObject({ ...refused, field: "SIGNING_KEY", got: "VLEK", want: "VCEK" });
    expect(await verdictFor({ SigningKey: "VLEK", CSPID: "other.example" })).toMatchObject({
      ...refused,
      field: "CSP_ID",
      got: '"cloud.example"',
      want: '"other.example"',
    });
  });

  test("of a software TEE passes only with --insecure, and the verdict says so", async () => {
    const { snp, vcek } = snpFiles();
    const whole = { snp, vcek, certTable: folder.put("empty.bin", ""), certChain: folder.put("all.pem", all()) };
    const insecure = [{ RootDigest: amdVendor.rootDigest, TrustedMeasurement: MEASUREMENT }];
    const request = { ...whole, manifest: manifest({ insecure }) };
    expect(await verdictOf(NOW, request)).toMatchObject({ exit: 3, code: "insecure_not_allowed" });
    const verdict = await verdictOf(NOW, request, true);
    expect(verdict).toMatchObject({ exit: 0, claims: { insecure: true } });
    expect(verdict.insecure).toContain("software TEE");
  });

  test("is verified with certificates in DER or PEM, once or several times", async () => {
    const [leaf, ask, ark] = amd.makeEvidence(amdVendor).certificates as [Uint8Array, Uint8Array, Uint8Array];
    const { snp } = snpFiles();
    for (const encode of [pem, (...ders: Uint8Array[]) => Buffer.concat(ders)]) {
      const options = {
        snp,
        vcek: folder.put("a", encode(leaf)),
        certChain: folder.put("b", encode(ark, leaf, ask)),
        trustAnchor: [folder.put("c", encode(ask, ark)), folder.put("d", encode(ark))],
      };
      expect(await verify(options)).toMatchObject({ exit: 0 });
    }
  });

  test("is refused where a file for certificates holds none", async () => {
    expect(await verify({ ...snpFiles(), vcek: folder.put("text", "hello") })).toMatchObject({
      exit: 3,
      code: "malformed_certificate",
      got: "0 certificates",
    });
    expect(await verify({ ...snpFiles(), certTable: folder.put("table", Buffer.alloc(23)) })).toMatchObject({
      exit: 3,
      code: "malformed_certificate",
    });
  });
});

describe("a quote", () => {
  test.each([4, 5] as const)("of version %i is verified, and must match the manifest", async (version) => {
    const options = tdxFiles({ version });
    expect(await verify(options)).toMatchObject({
      exit: 0,
      tcbStatus: "UpToDate",
      advisories: [],
      claims: { tee: "tdx", fmspc: "90c06f000000", insecure: true },
      warnings: [],
    });
    expect(await verify({ ...options, manifest: manifest({ tdx: [tdxSet] }) })).toMatchObject({ exit: 0 });
    const other = { ...tdxSet, MrTd: "ab".repeat(48) };
    expect(await verify({ ...options, manifest: manifest({ tdx: [other] }) })).toMatchObject({
      exit: 3,
      code: "measurement_mismatch",
      field: "MRTD",
      tcbStatus: "UpToDate",
    });
    expect(await verify({ ...options, manifest: manifest({ tdx: [tdxSet] }, "41".repeat(32)) })).toMatchObject({
      code: "policy_not_allowed",
      field: "MRCONFIGID",
    });
  });

  test("of another machine than the manifest asks for is refused", async () => {
    const off = { MemoryIntegrity: true, SMTDisabled: true, StaticPlatform: true, MinimumTCBEvaluationDataNumber: 18 };
    const set = { ...tdxSet, ...off, AllowedPIIDs: ["22".repeat(16)], TdAttributes: "0000001000000000" };
    const verdictFor = (scenario: intel.Scenario, values: object) =>
      verify({ ...tdxFiles(scenario), manifest: manifest({ tdx: [values] }) });
    expect(await verdictFor({}, set)).toMatchObject({
      exit: 0,
      claims: { piid: "22".repeat(16), tcbEvaluationDataNumber: 18 },
    });
    const boolean = encodeDer(TAG.boolean, Buffer.of(0xff));
    const other = encodeDer(TAG.octetString, Buffer.alloc(16));
    for (const [code, changes] of [
      ["piid_not_allowed", { [SGX_OID.piid]: other }],
      ["memory_integrity_missing", { [SGX_OID.sgxType]: encodeDer(TAG.enumerated, Buffer.of(1)) }],
      ["smt_enabled", { [SGX_OID.smtEnabled]: boolean }],
      ["dynamic_platform", { [SGX_OID.dynamicPlatform]: boolean }],
    ] as const) {
      const scenario = { pck: { extensions: intel.pckExtensions(changes) } };
      expect(await verdictFor(scenario, set)).toMatchObject({ exit: 3, code });
      expect(await verdictFor(scenario, tdxSet)).toMatchObject({ exit: 0 });
    }
    for (const [code, scenario] of [
      ["tcb_evaluation_too_old", { qeIdentity: { tcbEvaluationDataNumber: 17 } }],
      ["td_attributes_mismatch", { body: { tdAttributes: (1n << 63n) | (1n << 28n) } }],
      ["td_attributes_mismatch", { body: { tdAttributes: 0n } }],
      ["td_owner_mismatch", { body: { mrOwner: Buffer.alloc(48, 1) } }],
    ] as const) {
      expect(await verdictFor(scenario, set)).toMatchObject({ exit: 3, code });
    }
  });

  test("is refused without the trust anchor", async () => {
    const { trustAnchor, ...options } = tdxFiles();
    expect(trustAnchor).toHaveLength(1);
    expect(await verify(options)).toMatchObject({ exit: 3, code: "untrusted_root", tcbStatus: null });
  });

  test("of a platform with weaknesses passes where the command line or the manifest names the status", async () => {
    const tcbLevels = [intel.platformLevel({}, "OutOfDate", "INTEL-SA-00001", "INTEL-SA-00002")];
    const options = tdxFiles({ tcbInfo: { tcbLevels } });
    const known = { tcbStatus: "OutOfDate", advisories: ["INTEL-SA-00001", "INTEL-SA-00002"] };
    const refused = { exit: 3, verified: false, code: "tcb_status", ...known };
    const plain = manifest({ tdx: [tdxSet, tdxSet] });
    expect(await verify(options)).toMatchObject(refused);
    expect(await verify({ ...options, manifest: plain })).toMatchObject(refused);
    expect(await verify({ ...options, allowTcbStatus: ["SWHardeningNeeded"] })).toMatchObject(refused);
    const allowed = { ...options, allowTcbStatus: ["SWHardeningNeeded", "OutOfDate"] };
    expect(await verify(allowed)).toMatchObject({ exit: 0, ...known });
    expect(await verify({ ...allowed, manifest: plain })).toMatchObject({ exit: 0, ...known });
    const named = manifest({ tdx: [{ ...tdxSet, AllowedTcbStatuses: ["OutOfDate"] }] });
    expect(await verify({ ...options, manifest: named })).toMatchObject({ exit: 0, ...known });
    const elsewhere = [{ ...tdxSet, MrTd: "ab".repeat(48), AllowedTcbStatuses: ["OutOfDate"] }, tdxSet];
    expect(await verify({ ...options, manifest: manifest({ tdx: elsewhere }) })).toMatchObject({
      exit: 3,
      code: "reference_values_mismatch",
      ...known,
    });
  });

  test("of a revoked platform never passes, and the verdict names the advisories", async () => {
    const tcbLevels = [intel.platformLevel({}, "Revoked", "INTEL-SA-00003")];
    const options = { ...tdxFiles({ tcbInfo: { tcbLevels } }), allowTcbStatus: ["Revoked"] };
    expect(await verify(options)).toMatchObject({
      exit: 3,
      code: "tcb_revoked",
      tcbStatus: "Revoked",
      advisories: ["INTEL-SA-00003"],
    });
  });

  test("of a debug TD is refused unless that is allowed", async () => {
    const options = tdxFiles({ body: { tdAttributes: (1n << 28n) | 1n } });
    const refused = { exit: 3, code: "debug_allowed", field: "TDATTRIBUTES.TUD" };
    expect(await verify(options)).toMatchObject(refused);
    expect(await verify({ ...options, allowDebug: true })).toMatchObject({ exit: 0 });
    const listed = { ...options, manifest: manifest({ tdx: [tdxSet] }) };
    expect(await verify(listed)).toMatchObject(refused);
    expect(await verify({ ...listed, allowDebug: true })).toMatchObject({ exit: 0 });
  });

  test("is verified with collateral in DER or PEM", async () => {
    const options = tdxFiles();
    const { collateral } = intel.makeEvidence(intelVendor);
    const crl = (der: Uint8Array | undefined): string =>
      `note\n-----BEGIN X509 CRL-----\n${toBase64(der ?? new Uint8Array())}\n-----END X509 CRL-----\n`;
    const blocks = toUtf8(collateral?.signingChain ?? new Uint8Array()).split(/-----[A-Z ]+-----/);
    const chain = Buffer.concat(blocks.map((block) => Buffer.from(block, "base64")));
    expect(
      await verify({
        ...options,
        tcbSigningChain: folder.put("chain.der", chain),
        pckCrl: folder.put("pck.pem", crl(collateral?.pckCrl)),
        rootCaCrl: folder.put("root.pem", crl(collateral?.rootCrl)),
        trustAnchor: [folder.put("anchor.der", chain)],
      }),
    ).toMatchObject({ exit: 0 });
  });

  test("is refused with collateral that was changed or is no more valid", async () => {
    const options = tdxFiles();
    const { collateral } = intel.makeEvidence(intelVendor, { tcbInfo: { tcbEvaluationDataNumber: 19 } });
    const edited = toUtf8(collateral?.tcbInfo ?? new Uint8Array()).replace(":19", ":20");
    expect(await verify({ ...options, tcbInfo: folder.put("edited.json", edited) })).toMatchObject({
      exit: 3,
      code: "collateral_signature",
    });
    expect(await verify({ ...options, at: new Date("2026-12-01T00:00:00Z") })).toMatchObject({
      code: "collateral_expired",
    });
  });
});

test("the verdict as text is lines of facts, also of a refusal", async () => {
  const { context, output } = makeContext(NOW, "text");
  expect(await verifyEvidence(context, { ...snpFiles(), reportData: Buffer.alloc(64) })).toBe(3);
  const lines = output.join("").split("\n");
  expect(lines[0]).toBe("verified: false");
  expect(lines).toContain("code: report_data_mismatch");
  expect(lines).toContain("field: REPORT_DATA");
  expect(lines.at(-2)).toMatch(/^insecure: INSECURE/);
});

test("a name in a certificate can't write to the terminal, nor a line of the verdict", async () => {
  const subject = "ARK\u001b[2J\u009b31m\u202e\nverified: true";
  const [, , ark] = amd.makeEvidence(amdVendor, { ark: { subject } }).certificates as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  for (const format of ["text", "json"] as const) {
    const { context, output } = makeContext(NOW, format);
    expect(await verifyEvidence(context, { ...snpFiles(), certChain: folder.put("hostile.der", ark) })).toBe(3);
    const text = output.join("");
    expect(text).toMatch(/ARK.*u001b/);
    expect(text).toMatch(/^[\x20-\x7e\n]*$/);
    expect(text.match(/^ *"?verified"?: /gm)).toHaveLength(1);
  }
});

function all(): Uint8Array {
  return pem(...amd.makeEvidence(amdVendor).certificates);
}
