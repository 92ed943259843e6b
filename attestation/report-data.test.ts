import { createHash } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { isEqual, toHex } from "../bytes/encode.ts";
import { briefClaims, claims } from "./claims.ts";
import { policyHash } from "./policy-hash.ts";
import { channelReportData, checkReportData } from "./report-data.ts";
import { simulatedRoots } from "./snp/roots.ts";
import { createTestVendor, makeEvidence, NOW } from "./snp/test-vendor.ts";
import { type VerifiedSnpReport, verifySnp } from "./snp/verify.ts";

const exporter = Buffer.alloc(64, 0xe1);
const spkiDigest = Buffer.alloc(32, 0xd1);
const reportData = channelReportData("client", exporter, spkiDigest);

let verified: VerifiedSnpReport;

beforeAll(async () => {
  const vendor = await createTestVendor();
  const evidence = makeEvidence(vendor, { report: { reportData } });
  verified = verifySnp(evidence, { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW });
});

test("report data is the hash of context, role, exporter and key", () => {
  const text = Buffer.from("contrast-attestation-v1\0client\0");
  const want = createHash("sha512")
    .update(Buffer.concat([text, exporter, spkiDigest]))
    .digest();
  expect(isEqual(reportData, want)).toBe(true);
});

test("evidence that is bound to this connection, key and role passes", () => {
  expect(() => checkReportData(verified, reportData)).not.toThrow();
});

test.each([
  ["another connection", channelReportData("client", Buffer.alloc(64, 0xe2), spkiDigest)],
  ["another key", channelReportData("client", exporter, Buffer.alloc(32, 0xd2))],
  ["the other role", channelReportData("server", exporter, spkiDigest)],
  ["no bytes", Buffer.alloc(0)],
])("evidence that is bound to %s is refused", (_, expected) => {
  const refused = expect.objectContaining({
    code: "report_data_mismatch",
    where: "REPORT_DATA",
    got: toHex(reportData),
    want: toHex(expected),
  });
  expect(() => checkReportData(verified, expected)).toThrow(refused);
});

test("parts of another length are not hashed: their bytes could be read as other parts", () => {
  expect(() => channelReportData("client", exporter.subarray(1), spkiDigest)).toThrow(RangeError);
  expect(() => channelReportData("client", exporter, Buffer.concat([spkiDigest, spkiDigest]))).toThrow(RangeError);
});

test("the policy hash is HOST_DATA", () => {
  expect(policyHash(verified)).toBe("40".repeat(32));
});

test("claims are flat and readable", () => {
  const few = {
    tee: "snp",
    product: "Milan",
    measurement: "3e".repeat(48),
    hostData: "40".repeat(32),
    chipId: "c1".repeat(64),
    signingKey: "VCEK",
    cspId: "",
    reportedTcb: "bootloader 4, tee 0, snp 24, microcode 219",
    vmpl: 0,
    debug: false,
    insecure: true,
  };
  const flat = claims(verified);
  expect(flat).toMatchObject(few);
  expect(Object.values(flat).filter((value) => typeof value === "object")).toEqual([]);
  // Lines of logs and of terminals are not longer for all the others.
  expect(briefClaims(flat)).toEqual({ ...few, vmpl: "0", debug: "false", insecure: "true" });
});
