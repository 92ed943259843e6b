import { beforeAll, describe, expect, test } from "vitest";
import { claims } from "../claims.ts";
import type { EvidenceCode } from "../error.ts";
import { policyHash } from "../policy-hash.ts";
import { checkReportData } from "../report-data.ts";
import {
  bodyOf,
  componentLevel,
  createTestVendor,
  makeEvidence,
  moduleIdentity,
  NOW,
  platformLevel,
  type Scenario,
  svn,
  TEE_TCB_SVN,
  type TestVendor,
} from "./test-vendor.ts";
import { type TdxReferenceValues, validateTdx } from "./validate.ts";
import { type VerifiedTdxQuote, verifyTdx } from "./verify.ts";

let vendor: TestVendor;

beforeAll(async () => {
  vendor = await createTestVendor();
});

const { mrTd, mrSeam, rtmrs, xfam } = bodyOf(4);
const REFERENCE: TdxReferenceValues = { mrTd, mrSeam, rtmrs, xfam, minimumTeeTcbSvn: TEE_TCB_SVN };

function verify(scenario: Scenario = {}): VerifiedTdxQuote {
  return verifyTdx(makeEvidence(vendor, scenario), { trustAnchors: new Set([vendor.rootDigest]), at: NOW });
}

function refusal(code: EvidenceCode, where: string): unknown {
  return expect.objectContaining({ name: "EvidenceError", code, where });
}

test.each([4, 5] as const)("a quote of version %i that says what the reference values say passes", (version) => {
  expect(() => validateTdx(verify({ version }), REFERENCE)).not.toThrow();
});

test.each([
  ["MRTD", { mrTd: Buffer.alloc(48, 0xab) }],
  ["MRSEAM", { mrSeam: Buffer.alloc(48, 0x5b) }],
  ["RTMR0", { rtmrs: rtmrs.with(0, Buffer.alloc(48)) }],
  ["RTMR1", { rtmrs: rtmrs.with(1, Buffer.alloc(48)) }],
  ["RTMR2", { rtmrs: rtmrs.with(2, Buffer.alloc(48)) }],
  ["RTMR3", { rtmrs: rtmrs.with(3, Buffer.alloc(48, 1)) }],
])("another %s is refused", (where, changes) => {
  expect(() => validateTdx(verify({ body: changes }), REFERENCE)).toThrow(refusal("measurement_mismatch", where));
});

test("a register without a reference value is refused", () => {
  const reference = { ...REFERENCE, rtmrs: rtmrs.slice(0, 3) };
  expect(() => validateTdx(verify(), reference)).toThrow(refusal("measurement_mismatch", "RTMR3"));
});

test("XFAM must be the same, but for the two bits of CET", () => {
  for (let bit = 0; bit < 64; bit++) {
    const other = Buffer.from(xfam);
    other.writeBigUInt64LE(other.readBigUInt64LE() ^ (1n << BigInt(bit)));
    const validate = (): void => validateTdx(verify({ body: { xfam: other } }), REFERENCE);
    if (bit === 11 || bit === 12) expect(validate).not.toThrow();
    else expect(validate).toThrow(refusal("xfam_mismatch", "XFAM"));
  }
});

test("every byte of TEE_TCB_SVN must reach its lower bound", () => {
  const body = { teeTcbSvn: svn(...TEE_TCB_SVN.map((byte, index) => (index === 1 ? 1 : Math.max(byte, 7)))) };
  const verified = verify({
    body,
    tcbInfo: { tdxModuleIdentities: [moduleIdentity("TDX_01", componentLevel(0, "UpToDate"))] },
  });
  const { teeTcbSvn } = verified.quote.body;
  expect(() => validateTdx(verified, { ...REFERENCE, minimumTeeTcbSvn: teeTcbSvn })).not.toThrow();
  for (const [index, byte] of teeTcbSvn.entries()) {
    const minimumTeeTcbSvn = Buffer.alloc(16).fill(byte + 1, index, index + 1);
    const want = refusal("tcb_too_low", `TEE_TCB_SVN[${index}]`);
    expect(() => validateTdx(verified, { ...REFERENCE, minimumTeeTcbSvn })).toThrow(want);
  }
});

test.each([0n, 1n, 4n, 7n])("a TD under debug is refused (bit %i) unless it is allowed by name", (bit) => {
  const verified = verify({ body: { tdAttributes: 1n << bit } });
  expect(() => validateTdx(verified, REFERENCE)).toThrow(refusal("debug_allowed", "TDATTRIBUTES.TUD"));
  expect(() => validateTdx(verified, { ...REFERENCE, allowDebug: true })).not.toThrow();
  expect(claims(verified).debug).toBe(true);
});

test("a TD that the host may migrate is refused", () => {
  const verified = verify({ body: { tdAttributes: 1n << 29n } });
  expect(() => validateTdx(verified, REFERENCE)).toThrow(refusal("guest_policy_mismatch", "TDATTRIBUTES.MIGRATABLE"));
});

describe("a platform that is not up to date", () => {
  test.each([
    ["SWHardeningNeeded", {}],
    ["ConfigurationNeeded", {}],
    ["ConfigurationAndSWHardeningNeeded", {}],
    ["OutOfDate", {}],
    ["OutOfDateConfigurationNeeded", {}],
    ["TDRelaunchAdvised", { version: 5, body: { teeTcbSvn: svn(4, 1, 4) } }],
    ["TDRelaunchAdvisedConfigurationNeeded", { version: 5, body: { teeTcbSvn: svn(4, 1, 4) } }],
  ] as const)("with %s is verified, and refused unless that is allowed by name", (status, scenario) => {
    const relaunch = status.startsWith("TDRelaunchAdvised");
    const level = relaunch ? status.replace("TDRelaunchAdvised", "") || "UpToDate" : status;
    const tcbLevels = [platformLevel({}, level, "INTEL-SA-00001")];
    const verified = verify({ ...scenario, tcbInfo: { tcbLevels } });
    expect(verified).toMatchObject({ tcbStatus: status, advisories: ["INTEL-SA-00001"] });
    const reference = { ...REFERENCE, minimumTeeTcbSvn: Buffer.alloc(16) };
    const validate = (...allowedTcbStatuses: string[]): void =>
      validateTdx(verified, { ...reference, allowedTcbStatuses });
    expect(() => validateTdx(verified, reference)).toThrow(refusal("tcb_status", "TCB status"));
    expect(() => validate("UpToDate", "Revoked", status.toLowerCase())).toThrow(refusal("tcb_status", "TCB status"));
    expect(() => validate(status)).not.toThrow();
  });
});

test("the report data is REPORTDATA", () => {
  expect(() => checkReportData(verify(), Buffer.alloc(64, 0xda))).not.toThrow();
  expect(() => checkReportData(verify(), Buffer.alloc(64, 0xdb))).toThrow(
    refusal("report_data_mismatch", "REPORT_DATA"),
  );
});

test("the policy hash is the first 32 bytes of MRCONFIGID, and the others must be zero", () => {
  expect(policyHash(verify())).toBe("40".repeat(32));
  for (let offset = 32; offset < 48; offset++) {
    const mrConfigId = Buffer.concat([Buffer.alloc(32, 0x40)], 48).fill(1, offset, offset + 1);
    expect(() => policyHash(verify({ body: { mrConfigId } }))).toThrow(refusal("config_id_malformed", "MRCONFIGID"));
  }
});

test("claims are flat and readable", () => {
  expect(claims(verify())).toEqual({
    tee: "tdx",
    mrTd: "aa".repeat(48),
    mrSeam: "5a".repeat(48),
    rtmr0: "01".repeat(48),
    rtmr1: "02".repeat(48),
    rtmr2: "03".repeat(48),
    rtmr3: "00".repeat(48),
    mrConfigId: "40".repeat(32) + "00".repeat(16),
    xfam: "e702060000000000",
    fmspc: "90c06f000000",
    ppid: "11".repeat(16),
    teeTcbSvn: TEE_TCB_SVN.toString("hex"),
    tcbStatus: "UpToDate",
    advisories: "",
    debug: false,
    insecure: false,
  });
});
