import { beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { littleEndian64 } from "../../bytes/numbers.ts";
import { encodeDer } from "../../pki/der-writer.ts";
import { TAG } from "../../pki/der.ts";
import { claims } from "../claims.ts";
import { policyHash } from "../policy-hash.ts";
import { checkReportData } from "../report-data.ts";
import { refusal } from "../test-refusal.ts";
import { DEFAULT_TD_ATTRIBUTES, encodeTdAttributes, TD_ATTRIBUTES } from "./attributes.ts";
import type { TdBody } from "./body.ts";
import { SGX_OID } from "./pck.ts";
import {
  bodyOf,
  componentLevel,
  createTestVendor,
  makeEvidence,
  moduleIdentity,
  NOW,
  pckExtensions,
  PIID,
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
const DEFAULT = littleEndian64(DEFAULT_TD_ATTRIBUTES);
const REFERENCE: TdxReferenceValues = { mrTd, mrSeam, rtmrs, xfam, minimumTeeTcbSvn: TEE_TCB_SVN };

function verify(scenario: Scenario = {}): VerifiedTdxQuote {
  return verifyTdx(makeEvidence(vendor, scenario), { trustAnchors: new Set([vendor.rootDigest]), at: NOW });
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

test("the module that runs now must reach the lower bound, too", () => {
  const tcbLevels = [platformLevel({}, "UpToDate"), platformLevel({ tdx: svn(5, 0, 3) }, "OutOfDate")];
  const of = (teeTcbSvn2: Uint8Array): VerifiedTdxQuote =>
    verify({ version: 5, body: { tdx15: { teeTcbSvn2, mrServiceTd: Buffer.alloc(48) } }, tcbInfo: { tcbLevels } });
  expect(() => validateTdx(of(TEE_TCB_SVN), REFERENCE)).not.toThrow();
  expect(() => validateTdx(of(svn(12, 1, 4)), REFERENCE)).not.toThrow();
  const old = of(svn(11, 1, 3));
  expect(old.tcbStatus).toBe("OutOfDate");
  const allowing = { ...REFERENCE, allowedTcbStatuses: ["OutOfDate"] };
  expect(() => validateTdx(old, allowing)).toThrow(refusal("tcb_too_low", "TEE_TCB_SVN2[2]"));
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
  const tdAttributes = DEFAULT | (1n << bit);
  const verified = verify({ body: { tdAttributes } });
  const named = { ...REFERENCE, tdAttributes: encodeTdAttributes(tdAttributes) };
  for (const reference of [REFERENCE, named]) {
    expect(() => validateTdx(verified, reference)).toThrow(refusal("debug_allowed", "TDATTRIBUTES.TUD"));
  }
  expect(() => validateTdx(verified, { ...REFERENCE, allowDebug: true })).not.toThrow();
  expect(claims(verified).debug).toBe(true);
});

test("a TD that the host may migrate is refused, even where the manifest names that", () => {
  const tdAttributes = DEFAULT | (1n << TD_ATTRIBUTES.MIGRATABLE);
  const verified = verify({ body: { tdAttributes } });
  for (const reference of [REFERENCE, { ...REFERENCE, tdAttributes: encodeTdAttributes(tdAttributes) }]) {
    expect(() => validateTdx(verified, reference)).toThrow(refusal("guest_policy_mismatch", "TDATTRIBUTES.MIGRATABLE"));
  }
});

describe("TDATTRIBUTES", () => {
  test("of which any other bit is one, or SEPT_VE_DISABLE zero, are refused", () => {
    for (let bit = 8n; bit < 64n; bit++) {
      if (bit === TD_ATTRIBUTES.MIGRATABLE) continue;
      const verified = verify({ body: { tdAttributes: DEFAULT ^ (1n << bit) } });
      expect(() => validateTdx(verified, REFERENCE)).toThrow(refusal("td_attributes_mismatch", "TDATTRIBUTES"));
    }
  });

  test("that the manifest names have to be those in every bit", () => {
    const named = DEFAULT | (1n << TD_ATTRIBUTES.PKS);
    const reference = { ...REFERENCE, tdAttributes: encodeTdAttributes(named) };
    expect(() => validateTdx(verify({ body: { tdAttributes: named } }), reference)).not.toThrow();
    for (const tdAttributes of [DEFAULT, 0n, named | (1n << TD_ATTRIBUTES.PERFMON)]) {
      expect(() => validateTdx(verify({ body: { tdAttributes } }), reference)).toThrow(
        refusal("td_attributes_mismatch", "TDATTRIBUTES"),
      );
    }
  });

  test("are compared beside the bits of debugging where debugging is allowed", () => {
    const perfmon = verify({ body: { tdAttributes: 1n | DEFAULT | (1n << TD_ATTRIBUTES.PERFMON) } });
    expect(() => validateTdx(perfmon, { ...REFERENCE, allowDebug: true })).toThrow(
      refusal("td_attributes_mismatch", "TDATTRIBUTES"),
    );
  });
});

describe.each([
  ["MROWNER", "mrOwner", "td_owner_mismatch"],
  ["MROWNERCONFIG", "mrOwnerConfig", "td_owner_mismatch"],
  ["MRSERVICETD", "mrServiceTd", "service_td_mismatch"],
] as const)("%s", (where, key, code) => {
  const of = (value: Uint8Array): VerifiedTdxQuote => {
    const tdx15 = { teeTcbSvn2: TEE_TCB_SVN, mrServiceTd: value };
    const body: Partial<TdBody> = key === "mrServiceTd" ? { tdx15 } : { [key]: value };
    return verify({ version: 5, body });
  };

  test("has to be zero where the manifest names nothing", () => {
    expect(() => validateTdx(of(Buffer.alloc(48)), REFERENCE)).not.toThrow();
    for (const index of [0, 23, 47]) {
      const other = Buffer.alloc(48);
      other.writeUInt8(1, index);
      expect(() => validateTdx(of(other), REFERENCE)).toThrow(refusal(code, where));
    }
  });

  test("has to be what the manifest names", () => {
    const named = { ...REFERENCE, [key]: Buffer.alloc(48, 7) };
    expect(() => validateTdx(of(Buffer.alloc(48, 7)), named)).not.toThrow();
    expect(() => validateTdx(of(Buffer.alloc(48, 8)), named)).toThrow(refusal(code, where));
    expect(() => validateTdx(of(Buffer.alloc(48)), named)).toThrow(refusal(code, where));
  });
});

test.each([0, 7])("a quote of TDX 1.0 can't say which service TD there is, so one that is named refuses it", (byte) => {
  const reference = { ...REFERENCE, mrServiceTd: Buffer.alloc(48, byte) };
  for (const verified of [verify(), verify({ version: 5, body: { tdx15: undefined } })]) {
    expect(() => validateTdx(verified, reference)).toThrow(refusal("service_td_mismatch", "MRSERVICETD"));
    expect(() => validateTdx(verified, REFERENCE)).not.toThrow();
  }
});

describe("Intel's assessment", () => {
  const of = (tcbInfo: number, qeIdentity: number): VerifiedTdxQuote =>
    verify({ tcbInfo: { tcbEvaluationDataNumber: tcbInfo }, qeIdentity: { tcbEvaluationDataNumber: qeIdentity } });

  test("has to have the number that the manifest names or a higher one, in both documents", () => {
    const reference = { ...REFERENCE, minimumTcbEvaluationDataNumber: 18 };
    expect(() => validateTdx(of(18, 18), reference)).not.toThrow();
    expect(() => validateTdx(of(19, 20), reference)).not.toThrow();
    for (const verified of [of(17, 18), of(18, 17), of(0, 99)]) {
      expect(() => validateTdx(verified, reference)).toThrow(
        refusal("tcb_evaluation_too_old", "tcbEvaluationDataNumber"),
      );
      expect(() => validateTdx(verified, REFERENCE)).not.toThrow();
    }
    expect(of(17, 18).tcbEvaluationDataNumber).toBe(17);
    expect(of(18, 17).tcbEvaluationDataNumber).toBe(17);
  });
});

describe("the machine, by its PCK certificate", () => {
  /** The certificate says these, or where undefined nothing. */
  const of = (changes: Readonly<Record<string, Uint8Array | undefined>> = {}): VerifiedTdxQuote =>
    verify({ pck: { extensions: pckExtensions(changes) } });
  const enumerated = (value: number): Uint8Array => encodeDer(TAG.enumerated, Buffer.of(value));
  const boolean = (value: boolean): Uint8Array => encodeDer(TAG.boolean, Buffer.of(value ? 0xff : 0));
  const WITHOUT = { [SGX_OID.configuration]: undefined };

  test("has to be one of the list, by its PIID", () => {
    const other = Buffer.alloc(16, 0x23);
    const listing = (...allowedPiids: Uint8Array[]): TdxReferenceValues => ({ ...REFERENCE, allowedPiids });
    expect(() => validateTdx(of(), listing(other, PIID))).not.toThrow();
    expect(() => validateTdx(of(), listing(other))).toThrow(refusal("piid_not_allowed", "PCK PIID"));
    expect(() => validateTdx(of(), listing(PIID.subarray(0, 15)))).toThrow(refusal("piid_not_allowed", "PCK PIID"));
    const without = of({ [SGX_OID.piid]: undefined });
    expect(() => validateTdx(without, listing(PIID))).toThrow(refusal("piid_not_allowed", "PCK PIID"));
    expect(() => validateTdx(without, listing())).not.toThrow();
  });

  test.each([
    [
      "cryptographic integrity of memory",
      { memoryIntegrity: true },
      of.bind(undefined, {}),
      [
        { [SGX_OID.sgxType]: enumerated(0) },
        { [SGX_OID.sgxType]: enumerated(1) },
        { [SGX_OID.sgxType]: enumerated(3) },
      ],
      "memory_integrity_missing",
      "PCK SGX type",
    ],
    [
      "SMT that is off",
      { smtDisabled: true },
      of.bind(undefined, { [SGX_OID.dynamicPlatform]: boolean(true) }),
      [{ [SGX_OID.smtEnabled]: boolean(true) }, { [SGX_OID.smtEnabled]: undefined }, WITHOUT],
      "smt_enabled",
      "PCK smtEnabled",
    ],
    [
      "a platform that stays as it is",
      { staticPlatform: true },
      of.bind(undefined, { [SGX_OID.smtEnabled]: boolean(true) }),
      [{ [SGX_OID.dynamicPlatform]: boolean(true) }, { [SGX_OID.dynamicPlatform]: undefined }, WITHOUT],
      "dynamic_platform",
      "PCK dynamicPlatform",
    ],
  ] as const)("has to have %s where the manifest asks for it", (_, asked, good, bad, code, where) => {
    const [key] = Object.keys(asked);
    expect(() => validateTdx(good(), { ...REFERENCE, ...asked })).not.toThrow();
    for (const changes of bad) {
      expect(() => validateTdx(of(changes), { ...REFERENCE, ...asked })).toThrow(refusal(code, where));
      expect(() => validateTdx(of(changes), REFERENCE)).not.toThrow();
      expect(() => validateTdx(of(changes), { ...REFERENCE, [key ?? ""]: false })).not.toThrow();
    }
  });
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
  const flat = claims(verify());
  expect(Object.values(flat).filter((value) => typeof value === "object")).toEqual([]);
  expect(flat).toMatchObject({
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
    piid: "22".repeat(16),
    teeTcbSvn: toHex(TEE_TCB_SVN),
    tcbStatus: "UpToDate",
    tcbEvaluationDataNumber: 18,
    advisories: "",
    debug: false,
    insecure: false,
  });
});
