import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isEqual } from "../../bytes/encode.ts";
import { encodeSnpReport, parseSnpReport, REPORT_SIZE, type SnpReportFields } from "./report.ts";
import { reportOf } from "./test-vendor.ts";

const FIELDS: SnpReportFields = { ...reportOf("Milan", "vcek"), signature: Buffer.alloc(96, 0x51) };
const V2: SnpReportFields = { ...FIELDS, version: 2, cpuid: undefined };
const V5: SnpReportFields = { ...FIELDS, version: 5, mitigations: { launch: 1n, current: 2n } };

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
const u8 = fc.integer({ min: 0, max: 0xff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const firmware = fc.record({ build: u8, minor: u8, major: u8 });

const anyFields: fc.Arbitrary<SnpReportFields> = fc
  .constantFrom(2, 3, 4, 5)
  .chain((version) =>
    fc.record({
      version: fc.constant(version),
      guestSvn: u32,
      policy: u64.map((policy) => policy | (1n << 17n)),
      familyId: bytes(16),
      imageId: bytes(16),
      vmpl: u32,
      currentTcb: u64,
      platformInfo: u64,
      authorKeyEnabled: fc.boolean(),
      maskChipKey: fc.boolean(),
      signingKey: fc.constantFrom("vcek", "vlek", "none"),
      reportData: bytes(64),
      measurement: bytes(48),
      hostData: bytes(32),
      idKeyDigest: bytes(48),
      authorKeyDigest: bytes(48),
      reportId: bytes(32),
      reportIdMa: bytes(32),
      reportedTcb: u64,
      cpuid: version >= 3 ? fc.record({ family: u8, model: u8, stepping: u8 }) : fc.constant(undefined),
      chipId: bytes(64),
      committedTcb: u64,
      currentVersion: firmware,
      committedVersion: firmware,
      launchTcb: u64,
      mitigations: version >= 5 ? fc.record({ launch: u64, current: u64 }) : fc.constant(undefined),
      signature: bytes(96),
    }),
  );

test("what is encoded parses to the same fields", () => {
  fc.assert(
    fc.property(anyFields, (fields) => {
      const { raw, signed, ...parsed } = parseSnpReport(encodeSnpReport(fields));
      expect(parsed).toEqual(fields);
      expect(isEqual(raw.subarray(0, 0x2a0), signed)).toBe(true);
    }),
  );
});

test("any bytes either encode to themselves again or are refused with a reason", () => {
  const patch = fc.tuple(fc.integer({ min: 0, max: REPORT_SIZE - 1 }), u8);
  let parsed = 0;
  fc.assert(
    fc.property(fc.constantFrom(V2, FIELDS, V5), fc.array(patch, { maxLength: 3 }), (fields, patches) => {
      const report = encodeSnpReport(fields);
      for (const [offset, byte] of patches) report[offset] = byte;
      const again = outcomeOf(report);
      if (again instanceof Uint8Array) parsed++;
      expect(again instanceof Uint8Array ? isEqual(again, report) : again).toSatisfy(
        (outcome) => outcome === true || ["malformed_report", "unsupported_report_version"].includes(String(outcome)),
      );
    }),
    { numRuns: 1000 },
  );
  expect(parsed).toBeGreaterThan(0);
});

test("arbitrary bytes are refused with a reason", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2 * REPORT_SIZE, size: "max" }), (array) => {
      expect(outcomeOf(array)).toBeTypeOf("string");
    }),
  );
});

function outcomeOf(array: Uint8Array): Uint8Array | string {
  try {
    return encodeSnpReport(parseSnpReport(array));
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe("every byte that means nothing must be zero", () => {
  const reserved = (
    fields: SnpReportFields,
    ranges: readonly (readonly [number, number])[],
  ): [string, Uint8Array, number][] =>
    ranges.flatMap(([from, to]) =>
      Array.from({ length: to - from + 1 }, (_, index): [string, Uint8Array, number] => [
        `version ${fields.version}, 0x${(from + index).toString(16)}`,
        encodeSnpReport(fields),
        from + index,
      ]),
    );
  const always = [
    [0x49, 0x4f],
    [0x18b, 0x19f],
    [0x1eb, 0x1eb],
    [0x1ef, 0x1ef],
    [0x208, 0x29f],
    [0x2d0, 0x2e7],
    [0x318, 0x32f],
    [0x330, 0x49f],
  ] as const;
  const cases = [
    ...reserved(V2, [[0x188, 0x18a], ...always, [0x1f8, 0x207]]),
    ...reserved(FIELDS, [...always, [0x1f8, 0x207]]),
    ...reserved({ ...FIELDS, version: 4 }, [[0x1f8, 0x207]]),
    ...reserved(V5, always),
  ];

  test("and is refused with its offset otherwise", () => {
    for (const [name, report, offset] of cases) {
      expect(() => parseSnpReport(report), name).not.toThrow();
      report[offset] = 0x80;
      expect(() => parseSnpReport(report), name).toThrow(expect.objectContaining({ code: "malformed_report" }));
    }
  });
});

test("bits that have no meaning yet are kept", () => {
  const fields = { ...FIELDS, policy: 0xffff_ffff_ffff_ffffn, platformInfo: 0xffff_ffff_ffff_ffffn };
  const { policy, platformInfo } = parseSnpReport(encodeSnpReport(fields));
  expect({ policy, platformInfo }).toEqual({ policy: fields.policy, platformInfo: fields.platformInfo });
});

test.each([0, 1, 6, 0xffff_ffff])("version %i is not supported", (version) => {
  const report = encodeSnpReport({ ...FIELDS, version });
  expect(() => parseSnpReport(report)).toThrow(
    expect.objectContaining({ code: "unsupported_report_version", where: "VERSION", got: String(version) }),
  );
});

test.each([0, REPORT_SIZE - 1, REPORT_SIZE + 1])("a report of %i bytes is refused", (length) => {
  const report = Buffer.concat([encodeSnpReport(FIELDS)], length);
  expect(() => parseSnpReport(report)).toThrow(
    expect.objectContaining({ code: "malformed_report", got: `${length} bytes`, want: "1184 bytes" }),
  );
});

test.each([
  ["another signature algorithm", 0x34, 2, "SIGNATURE_ALGO"],
  ["a reserved signing key", 0x48, 2 << 2, "KEY_INFO"],
  ["a reserved flag", 0x48, 1 << 5, "KEY_INFO"],
  ["the policy bit that must be one at zero", 0x0a, 0x01, "POLICY"],
])("%s is refused", (_, offset, byte, where) => {
  const report = encodeSnpReport(FIELDS);
  report[offset] = byte;
  expect(() => parseSnpReport(report)).toThrow(expect.objectContaining({ code: "malformed_report", where }));
});

test("the signature is big-endian here and little-endian in the report", () => {
  const signature = Buffer.from(Array.from({ length: 96 }, (_, index) => index + 1));
  const report = encodeSnpReport({ ...FIELDS, signature });
  expect([report[0x2a0], report[0x2a0 + 47], report[0x2a0 + 72]]).toEqual([48, 1, 96]);
  expect(isEqual(parseSnpReport(report).signature, signature)).toBe(true);
});

test("a report does not change with the buffer that it was parsed from", () => {
  const bytes = encodeSnpReport(FIELDS);
  const report = parseSnpReport(bytes);
  bytes.fill(0);
  expect(isEqual(report.reportData, FIELDS.reportData)).toBe(true);
  expect(isEqual(report.signed, encodeSnpReport(FIELDS).subarray(0, 0x2a0))).toBe(true);
});

test("a field of another length is not encoded", () => {
  expect(() => encodeSnpReport({ ...FIELDS, hostData: Buffer.alloc(31) })).toThrow(RangeError);
});
