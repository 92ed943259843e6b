import { expect, test } from "vitest";
import { parseTdReport } from "./tdreport.ts";
import { makeTdReport } from "./test-tdreport.ts";

test.each([0, 1])("a TDREPORT of version %i is parsed to the last byte", (version) => {
  const first = (bytes: Uint8Array): number => bytes[0] ?? NaN;
  const report = parseTdReport(makeTdReport({ version }));
  expect(report).toMatchObject({ version, valid: 0x0101010101010101n, tdAttributes: 0x0707070707070707n });
  const { cpuSvn, reportData, mac, teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes, teeTcbSvn2, xfam } = report;
  expect([cpuSvn, reportData, mac].map(first)).toEqual([18, 19, 20]);
  expect([teeTcbSvn, mrSeam, mrSignerSeam, seamAttributes, teeTcbSvn2, xfam].map(first)).toEqual([2, 3, 4, 5, 6, 8]);
  const { mrTd, mrConfigId, mrOwner, mrOwnerConfig, rtmrs, servTdHash } = report;
  expect([mrTd, mrConfigId, mrOwner, mrOwnerConfig, ...rtmrs, servTdHash].map(first)).toEqual([
    9, 10, 11, 12, 13, 14, 15, 16, 17,
  ]);
});

test("one with another type, size, reserved byte or hash is refused", () => {
  const refused = expect.objectContaining({ name: "EvidenceError", code: "malformed_report" });
  const report = makeTdReport();
  // MAC, REPORTDATA and CPUSVN are covered by the MAC alone, which nobody but the CPU can check.
  const covered = [...report.keys()].filter(
    (at) => at < 16 || (at >= 32 && at < 128) || (at >= 192 && at < 224) || at >= 256,
  );
  for (const offset of covered) {
    const changed = Buffer.from(report);
    changed.writeUInt8(changed.readUInt8(offset) ^ 0x80, offset);
    expect(() => parseTdReport(changed), `byte ${offset}`).toThrow(refused);
  }
  expect(() => parseTdReport(makeTdReport({ version: 2 }))).toThrow(refused);
  expect(() => parseTdReport(report.subarray(0, 1023))).toThrow(refused);
  expect(() => parseTdReport(Buffer.concat([report, Buffer.of(0)]))).toThrow(refused);
});
