import { beforeAll, describe, expect, test } from "vitest";
import { AMD_OID } from "../attestation/snp/certificate.ts";
import type { SnpReportFields } from "../attestation/snp/report.ts";
import { simulatedRoots, type TrustAnchors } from "../attestation/snp/roots.ts";
import { encodeTcb } from "../attestation/snp/tcb.ts";
import * as amd from "../attestation/snp/test-vendor.ts";
import { type SnpReferenceValues, validateSimulated, validateSnp } from "../attestation/snp/validate.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import type { TdBody } from "../attestation/tdx/body.ts";
import { SGX_OID } from "../attestation/tdx/pck.ts";
import * as intel from "../attestation/tdx/test-vendor.ts";
import { type TdxReferenceValues, validateTdx } from "../attestation/tdx/validate.ts";
import { verifyTdx } from "../attestation/tdx/verify.ts";
import { encodeDer, encodeInteger } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import type { Comparison } from "./comparison.ts";
import { compareSimulated, compareSnp } from "./snp-comparisons.ts";
import { compareTdx } from "./tdx-comparisons.ts";

/** What the report shows as not holding is what the verifier refuses, field by field. */

let amdVendor: amd.TestVendor;
let intelVendor: intel.TestVendor;

beforeAll(async () => {
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
});

/** @returns the fields that don't hold, without the root's key: a test's vendor is never the pinned one */
function failing(comparisons: readonly Comparison[]): string[] {
  return comparisons.filter(({ holds, field }) => !holds && field !== "root key").map(({ field }) => field);
}

/** The field that the verifier refuses, in the report's words; undefined where it accepts. */
function refused(validate: () => void): string | undefined {
  try {
    validate();
    return undefined;
  } catch (error) {
    return (error as { where?: string }).where?.replace(/\[\d+\]$/, "");
  }
}

describe("SEV-SNP", () => {
  const fields = amd.reportOf("Milan", "vcek");
  const [measurement, digest, id] = [fields.measurement, Buffer.alloc(48, 0x1d), Buffer.alloc(16, 0xfa)];
  const reference: SnpReferenceValues = {
    productName: "Milan",
    image: { kind: "measured", measurement },
    minimumTcb: { bootloader: 4, tee: 0, snp: 24, microcode: 219 },
    guestPolicy: { SMT: true, ABIMinor: 0 },
    platformInfo: { SMTEnabled: true, ECCEnabled: true },
    allowedChipIds: [amd.CHIP_ID],
  };
  const signed = { idKeyDigest: digest, authorKeyDigest: digest, authorKeyEnabled: true, familyId: id, imageId: id };
  const signer: SnpReferenceValues = {
    ...reference,
    image: {
      kind: "signed",
      signer: { idKeyDigest: digest, authorKeyDigest: digest },
      familyId: id,
      imageId: id,
      minimumGuestSvn: 6,
    },
  };
  const older = encodeTcb({ fmc: 0, bootloader: 4, tee: 0, snp: 23, microcode: 219 }, "Milan");

  test.each<[string, Partial<SnpReportFields>, SnpReferenceValues, string[]]>([
    ["what is right", {}, reference, []],
    ["another product", {}, { ...reference, productName: "Genoa" }, ["product"]],
    ["another image", { measurement: Buffer.alloc(48, 1) }, reference, ["MEASUREMENT"]],
    ["another privilege", { vmpl: 1 }, reference, ["VMPL"]],
    ["debugging", { policy: 0xb0000n }, reference, ["POLICY.Debug"]],
    [
      "debugging that is permitted",
      { policy: 0xb0000n },
      { ...reference, guestPolicy: { SMT: true, Debug: true } },
      [],
    ],
    [
      "debugging without a guest policy",
      { policy: 0xb0000n },
      { ...reference, guestPolicy: undefined },
      ["POLICY.Debug"],
    ],
    [
      "migration without a guest policy",
      { policy: 0x70000n },
      { ...reference, guestPolicy: undefined },
      ["POLICY.MigrateMA"],
    ],
    ["a bit that is not permitted", {}, { ...reference, guestPolicy: {} }, ["POLICY.SMT"]],
    ["a bit that is required", {}, { ...reference, guestPolicy: { SMT: true, RAPLDis: true } }, ["POLICY.RAPLDis"]],
    ["an old ABI", { policy: 0x30010n }, { ...reference, guestPolicy: { SMT: true, ABIMinor: 31 } }, ["POLICY.ABI"]],
    ["a newer ABI", { policy: 0x30100n }, { ...reference, guestPolicy: { SMT: true, ABIMinor: 31 } }, []],
    ["a platform without ECC", { platformInfo: 0x1n }, reference, ["PLATFORM_INFO.ECCEnabled"]],
    ["any platform", { platformInfo: 0x2n }, { ...reference, platformInfo: undefined }, []],
    ["old committed firmware", { committedTcb: older }, reference, ["COMMITTED_TCB.snp"]],
    ["old firmware at launch", { launchTcb: older }, reference, ["LAUNCH_TCB.snp"]],
    ["no mitigation asked for", { version: 5, mitigations: { launch: 0n, current: 0n } }, reference, []],
    [
      "mitigations",
      { version: 5, mitigations: { launch: 7n, current: 5n } },
      { ...reference, minimumMitigationVector: 5 },
      [],
    ],
    [
      "a mitigation that is missing now",
      { version: 5, mitigations: { launch: 5n, current: 4n } },
      { ...reference, minimumMitigationVector: 5 },
      ["CURRENT_MIT_VECTOR"],
    ],
    ["a report without mitigations", {}, { ...reference, minimumMitigationVector: 0 }, ["VERSION"]],
    [
      "the key of one chip in place of a cloud's",
      {},
      { ...reference, signingKey: { kind: "vlek", cspId: "cloud.example" } },
      ["SIGNING_KEY", "CSP_ID"],
    ],
    ["another chip", {}, { ...reference, allowedChipIds: [Buffer.alloc(64)] }, ["CHIP_ID"]],
    ["any chip", {}, { ...reference, allowedChipIds: [] }, []],
    ["a signed image", { ...signed, guestSvn: 6 }, signer, []],
    ["an old signed image", { ...signed, guestSvn: 5 }, signer, ["GUEST_SVN"]],
    ["another signer", { ...signed, guestSvn: 6, idKeyDigest: Buffer.alloc(48) }, signer, ["ID_KEY_DIGEST"]],
    ["an author who did not sign", { ...signed, guestSvn: 6, authorKeyEnabled: false }, signer, ["AUTHOR_KEY_EN"]],
    ["another product of the signer", { ...signed, guestSvn: 6, imageId: Buffer.alloc(16) }, signer, ["IMAGE_ID"]],
  ])("%s", (_, report, values, expected) => {
    const options = { trustAnchors: amd.asVendorRoot(amdVendor, "Milan"), at: amd.NOW };
    const verified = verifySnp(amd.makeEvidence(amdVendor, { report }), options);
    const comparisons = compareSnp(verified, values, "$.ReferenceValues.snp[0]");
    expect(failing(comparisons)).toEqual(expected);
    expect(refused(() => validateSnp(verified, values))).toBe(expected[0]);
    for (const { reference: path } of comparisons.filter(({ field }) => expected.includes(field))) {
      expect(path).toMatch(/^\$\.ReferenceValues\.snp\[0\]\.|^always$/);
    }
  });

  test.each<[string, SnpReferenceValues, string[]]>([
    ["a VCEK", reference, ["SIGNING_KEY"]],
    ["its VLEK", { ...reference, signingKey: { kind: "vlek", cspId: "cloud.example" } }, []],
    ["another's VLEK", { ...reference, signingKey: { kind: "vlek", cspId: "other.example" } }, ["CSP_ID"]],
  ])("the VLEK of a cloud where the manifest names %s", (_, values, expected) => {
    const options = { trustAnchors: amd.asVendorRoot(amdVendor, "Milan"), at: amd.NOW };
    const verified = verifySnp(amd.makeEvidence(amdVendor, { kind: "vlek" }), options);
    const anyChip = { ...values, allowedChipIds: [] };
    expect(failing(compareSnp(verified, anyChip, "$"))).toEqual(expected);
    expect(refused(() => validateSnp(verified, anyChip))).toBe(expected[0]);
  });

  test("an old signing key", () => {
    const old = { fmc: 0, bootloader: 4, tee: 0, snp: 23, microcode: 219 };
    const extensions = amd.vcek("Milan", { [AMD_OID.snp]: encodeInteger(old.snp) });
    const options = { trustAnchors: amd.asVendorRoot(amdVendor, "Milan"), at: amd.NOW };
    const report = { reportedTcb: encodeTcb(old, "Milan") };
    const verified = verifySnp(amd.makeEvidence(amdVendor, { leaf: { extensions }, report }), options);
    expect(failing(compareSnp(verified, reference, "$"))).toEqual(["REPORTED_TCB.snp"]);
    expect(refused(() => validateSnp(verified, reference))).toBe("REPORTED_TCB.snp");
  });

  test("a software TEE never stands in for hardware, nor the other way round", () => {
    const image = { kind: "measured", measurement } as const;
    const named = { rootDigest: amdVendor.rootDigest, image };
    const verify = (trustAnchors: TrustAnchors) =>
      verifySnp(amd.makeEvidence(amdVendor), { trustAnchors, at: amd.NOW });
    const [software, hardware] = [
      verify(simulatedRoots([amdVendor.rootDigest])),
      verify(amd.asVendorRoot(amdVendor, "Milan")),
    ];
    expect(compareSimulated(software, named, "$").every(({ holds }) => holds)).toBe(true);
    expect(() => validateSimulated(software, named)).not.toThrow();
    for (const [verified, values] of [
      [hardware, named],
      [software, { rootDigest: "00".repeat(32), image }],
    ] as const) {
      expect(compareSimulated(verified, values, "$").find(({ holds }) => !holds)?.field).toBe("root key");
      expect(refused(() => validateSimulated(verified, values))).toBe("root");
    }
    expect(compareSnp(software, reference, "$").find(({ holds }) => !holds)?.field).toBe("root key");
    expect(refused(() => validateSnp(software, reference))).toBe("root");
  });
});

describe("TDX", () => {
  const { mrTd, mrSeam, rtmrs, xfam } = intel.bodyOf(4);
  const reference: TdxReferenceValues = { mrTd, mrSeam, rtmrs, xfam, minimumTeeTcbSvn: intel.TEE_TCB_SVN };
  const other = Buffer.alloc(48, 0xee);

  test.each<[string, Partial<TdBody>, TdxReferenceValues, string[]]>([
    ["what is right", {}, reference, []],
    ["another image", { mrTd: other }, reference, ["MRTD"]],
    ["another module", { mrSeam: other }, reference, ["MRSEAM"]],
    ["something else that was loaded", { rtmrs: rtmrs.with(2, other) }, reference, ["RTMR2"]],
    ["debugging", { tdAttributes: 0x1000_0001n }, reference, ["TDATTRIBUTES.TUD", "TDATTRIBUTES"]],
    ["migration", { tdAttributes: 0x3000_0000n }, reference, ["TDATTRIBUTES.MIGRATABLE", "TDATTRIBUTES"]],
    ["profiling", { tdAttributes: (1n << 63n) | 0x1000_0000n }, reference, ["TDATTRIBUTES"]],
    ["attributes that are named", { tdAttributes: 0n }, { ...reference, tdAttributes: Buffer.alloc(8) }, []],
    ["another owner", { mrOwner: other }, reference, ["MROWNER"]],
    ["another configuration of the owner's", { mrOwnerConfig: other }, reference, ["MROWNERCONFIG"]],
    ["an owner that is named", { mrOwner: other }, { ...reference, mrOwner: other }, []],
    ["a service TD", { tdx15: { teeTcbSvn2: intel.TEE_TCB_SVN, mrServiceTd: other } }, reference, ["MRSERVICETD"]],
    ["a service TD that can't be seen", {}, { ...reference, mrServiceTd: Buffer.alloc(48) }, ["MRSERVICETD"]],
    ["other CPU features", { xfam: Buffer.from("e700060000000000", "hex") }, reference, ["XFAM"]],
    ["CET alone", { xfam: Buffer.from(xfam.map((byte, index) => (index === 1 ? byte ^ 0x18 : byte))) }, reference, []],
    ["an old module", {}, { ...reference, minimumTeeTcbSvn: intel.svn(12, 1, 4) }, ["TEE_TCB_SVN"]],
    [
      "an old module that runs now",
      { teeTcbSvn: intel.svn(12, 1, 4), tdx15: { teeTcbSvn2: intel.TEE_TCB_SVN, mrServiceTd: Buffer.alloc(48) } },
      { ...reference, minimumTeeTcbSvn: intel.svn(12, 1, 4) },
      ["TEE_TCB_SVN2"],
    ],
    ["an old assessment", {}, { ...reference, minimumTcbEvaluationDataNumber: 19 }, ["tcbEvaluationDataNumber"]],
    ["this assessment", {}, { ...reference, minimumTcbEvaluationDataNumber: 18 }, []],
    ["another machine", {}, { ...reference, allowedPiids: [Buffer.alloc(16)] }, ["PCK PIID"]],
    ["this machine", {}, { ...reference, allowedPiids: [Buffer.alloc(16), intel.PIID] }, []],
    ["a machine as it is", {}, { ...reference, memoryIntegrity: true, smtDisabled: true, staticPlatform: true }, []],
  ])("%s", (_, body, values, expected) => {
    const options = { trustAnchors: new Set([intelVendor.rootDigest]), at: intel.NOW };
    const version = body.tdx15 === undefined ? 4 : 5;
    const verified = verifyTdx(intel.makeEvidence(intelVendor, { version, body }), options);
    expect(failing(compareTdx(verified, values, "$"))).toEqual(expected);
    expect(refused(() => validateTdx(verified, values))).toBe(expected[0]);
  });

  test("a machine whose certificate says nothing", () => {
    const extensions = intel.pckExtensions({
      [SGX_OID.sgxType]: encodeDer(TAG.enumerated, Buffer.of(1)),
      [SGX_OID.piid]: undefined,
      [SGX_OID.configuration]: undefined,
    });
    const options = { trustAnchors: new Set([intelVendor.rootDigest]), at: intel.NOW };
    const verified = verifyTdx(intel.makeEvidence(intelVendor, { pck: { extensions } }), options);
    expect(failing(compareTdx(verified, reference, "$"))).toEqual([]);
    for (const [field, asked] of [
      ["PCK PIID", { allowedPiids: [intel.PIID] }],
      ["PCK SGX type", { memoryIntegrity: true }],
      ["PCK smtEnabled", { smtDisabled: true }],
      ["PCK dynamicPlatform", { staticPlatform: true }],
    ] as const) {
      expect(failing(compareTdx(verified, { ...reference, ...asked }, "$"))).toEqual([field]);
      expect(refused(() => validateTdx(verified, { ...reference, ...asked }))).toBe(field);
    }
  });

  test("Intel's TCB status of the platform", () => {
    const tcbInfo = { ...intel.TCB_INFO, tcbLevels: [intel.platformLevel({}, "SWHardeningNeeded", "INTEL-SA-1")] };
    const options = { trustAnchors: new Set([intelVendor.rootDigest]), at: intel.NOW };
    const verified = verifyTdx(intel.makeEvidence(intelVendor, { tcbInfo }), options);
    for (const allowedTcbStatuses of [undefined, ["SWHardeningNeeded"]]) {
      const values = { ...reference, allowedTcbStatuses };
      const expected = allowedTcbStatuses === undefined ? ["TCB status"] : [];
      expect(failing(compareTdx(verified, values, "$"))).toEqual(expected);
      expect(refused(() => validateTdx(verified, values))).toBe(expected[0]);
    }
  });
});
