import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { isEqual } from "../../bytes/encode.ts";
import { refusal } from "../test-refusal.ts";
import { encodeTdxQuote, parseTdxQuote, type TdxQuoteFields } from "./quote.ts";
import { bodyOf, createTestVendor, makeEvidence } from "./test-vendor.ts";

let v4: Uint8Array;
let v5: Uint8Array;
let v5Tdx10: Uint8Array;

beforeAll(async () => {
  const vendor = await createTestVendor();
  v4 = makeEvidence(vendor).quote;
  v5 = makeEvidence(vendor, { version: 5 }).quote;
  v5Tdx10 = makeEvidence(vendor, { version: 5, body: { tdx15: undefined } }).quote;
});

function changed(quote: Uint8Array, offset: number, ...bytes: readonly number[]): Uint8Array {
  const copy = Buffer.from(quote);
  copy.set(bytes, offset);
  return copy;
}

test("quotes of every version and body parse to what was encoded", () => {
  expect(parseTdxQuote(v4)).toMatchObject({ version: 4, body: bodyOf(4) });
  expect(parseTdxQuote(v5)).toMatchObject({ version: 5, body: bodyOf(5) });
  expect(parseTdxQuote(v5Tdx10)).toMatchObject({ version: 5, body: bodyOf(4) });
});

test("what is encoded parses to the same fields", () => {
  const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
  const anyFields = fc.record({
    userData: bytes(20),
    signature: bytes(64),
    attestationKey: bytes(64),
    qeReportSignature: bytes(64),
    authData: fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
    certificateChain: fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
    padding: fc.nat(100),
  });
  fc.assert(
    fc.property(fc.constantFrom(v4, v5, v5Tdx10), anyFields, (quote, changes) => {
      const { raw, signed, signedQeReport, ...fields } = parseTdxQuote(quote);
      const want: TdxQuoteFields = { ...fields, ...changes };
      const { raw: _, signed: __, signedQeReport: again, ...parsed } = parseTdxQuote(encodeTdxQuote(want));
      expect(parsed).toEqual(want);
      expect(isEqual(again, signedQeReport)).toBe(true);
      expect(isEqual(raw.subarray(0, signed.length), signed)).toBe(true);
    }),
  );
});

test("any bytes either encode to themselves again or are refused with a reason", () => {
  const patch = fc.tuple(fc.nat(1100), fc.integer({ min: 0, max: 255 }));
  let parsed = 0;
  fc.assert(
    fc.property(fc.constantFrom(v4, v5, v5Tdx10), fc.array(patch, { maxLength: 3 }), (quote, patches) => {
      const bytes = Buffer.from(quote);
      for (const [offset, byte] of patches) bytes.writeUInt8(byte, offset);
      const outcome = outcomeOf(bytes);
      if (outcome instanceof Uint8Array) {
        parsed++;
        expect(isEqual(outcome, bytes)).toBe(true);
      } else expect(["malformed_report", "unsupported_report_version"]).toContain(outcome);
    }),
    { numRuns: 500 },
  );
  expect(parsed).toBeGreaterThan(0);
});

// Times are the processor's, in milliseconds: others may keep it busy, too.

test("arbitrary bytes are refused with a reason, at once", () => {
  const tail = fc.uint8Array({ maxLength: 4000, size: "max" });
  const beginning = fc.constantFrom(0, 2, 8, 48, 54, 632, 636, 764, 770, 1218);
  fc.assert(
    fc.property(beginning, tail, (length, rest) => {
      const bytes = Buffer.concat([v4.subarray(0, length), rest]);
      const start = process.cpuUsage();
      const outcome = outcomeOf(bytes);
      expect(process.cpuUsage(start).user / 1000).toBeLessThan(50);
      if (outcome instanceof Uint8Array) expect(isEqual(outcome, bytes)).toBe(true);
      else expect(["malformed_report", "unsupported_report_version"]).toContain(outcome);
    }),
  );
});

function outcomeOf(bytes: Uint8Array): Uint8Array | string {
  try {
    return encodeTdxQuote(parseTdxQuote(bytes));
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test.each([0, 3, 6, 0xffff])("version %i is not supported", (version) => {
  const bytes = changed(v4, 0, version & 0xff, version >> 8);
  expect(() => parseTdxQuote(bytes)).toThrow(refusal("unsupported_report_version", "version"));
});

test.each([
  ["SGX", 1],
  ["TDX 1.5 extended", 4],
])("a body of %s is not supported", (_, type) => {
  expect(() => parseTdxQuote(changed(v5, 48, type))).toThrow(refusal("unsupported_report_version", "body type"));
});

test("a body that is said to be of the other kind is refused", () => {
  expect(() => parseTdxQuote(changed(v5, 48, 2))).toThrow(refusal("malformed_report", "body size"));
  expect(() => parseTdxQuote(changed(v5Tdx10, 48, 3))).toThrow(refusal("malformed_report", "body size"));
});

test.each([
  ["another attestation key type", 2, 3, "attestation key type"],
  ["the TEE type of SGX", 4, 0, "TEE type"],
  ["another vendor", 12, 0, "QE vendor ID"],
])("%s is refused", (_, offset, byte, where) => {
  expect(() => parseTdxQuote(changed(v4, offset, byte))).toThrow(refusal("malformed_report", where));
});

test("every reserved byte must be zero", () => {
  const qeReport = 770;
  const reserved = [
    [8, 11],
    [qeReport + 20, qeReport + 31],
    [qeReport + 96, qeReport + 127],
    [qeReport + 160, qeReport + 191],
    [qeReport + 262, qeReport + 303],
  ] as const;
  for (const [from, to] of reserved) {
    for (let offset = from; offset <= to; offset++) {
      const want = refusal("malformed_report", from === 8 ? "header reserved" : "QE reserved");
      expect(() => parseTdxQuote(changed(v4, offset, 0x80)), `${offset}`).toThrow(want);
    }
  }
});

describe("lengths are exact", () => {
  // Signature data, QE certification data, QE authentication data, PCK certificate chain.
  const lengths = [
    [632, 4],
    [766, 4],
    [1218, 2],
    [1254, 4],
  ] as const;

  test.each(lengths)("the one at %i by one more or one less", (offset, size) => {
    for (const difference of [-1, 1]) {
      const bytes = Buffer.from(v4);
      bytes.writeUIntLE(bytes.readUIntLE(offset, size) + difference, offset, size);
      expect(() => parseTdxQuote(bytes)).toThrow(expect.objectContaining({ code: "malformed_report" }));
    }
  });

  test.each(lengths)("the one at %i by far, in no time", (offset, size) => {
    const bytes = Buffer.from(v4);
    bytes.writeUIntLE(2 ** (8 * size) - 1, offset, size);
    const start = process.cpuUsage();
    expect(() => parseTdxQuote(bytes)).toThrow(expect.objectContaining({ code: "malformed_report" }));
    expect(process.cpuUsage(start).user / 1000).toBeLessThan(50);
  });

  test("a quote that is cut short anywhere is refused", () => {
    for (let length = 0; length < v4.length; length += length < 1300 ? 1 : 97) {
      expect(() => parseTdxQuote(v4.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "malformed_report" }),
      );
    }
  });
});

test("zero bytes behind a quote are counted, others are refused", () => {
  expect(parseTdxQuote(Buffer.concat([v4], 8000)).padding).toBe(8000 - v4.length);
  const followed = Buffer.concat([v4, Buffer.of(0, 0, 1, 0)]);
  expect(() => parseTdxQuote(followed)).toThrow(refusal("malformed_report", "bytes behind the quote"));
});
