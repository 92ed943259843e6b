import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { isEqual, toUtf8 } from "../../bytes/encode.ts";
import { parseSnpReport, type SnpReport } from "../snp/report.ts";
import { AMD_ROOTS } from "../snp/roots.ts";
import { asVendorRoot, createTestVendor, makeEvidence, NOW, type TestVendor } from "../snp/test-vendor.ts";
import { verifySnp } from "../snp/verify.ts";
import { pem } from "../tdx/test-vendor.ts";
import { answerWith, startService, testNetwork, type TestService } from "./test-service.ts";
import { fetchThimCertificates, type ThimAnswer, THIM_URL } from "./thim.ts";

let vendor: TestVendor;
let report: Uint8Array;
let answer: Readonly<Record<string, unknown>>;

beforeAll(async () => {
  vendor = await createTestVendor();
  const evidence = makeEvidence(vendor);
  ({ report } = evidence);
  answer = {
    vcekCert: toUtf8(pem(...evidence.certificates.slice(0, 1))),
    tcbm: "db18000000000004",
    certificateChain: toUtf8(pem(...evidence.certificates.slice(1))),
    cacheControl: "86400",
  };
});

const PATH = THIM_URL.pathname.slice(1);

function fetchFrom(service: TestService, of: SnpReport): Promise<ThimAnswer> {
  return fetchThimCertificates(of, testNetwork(NOW), new URL(PATH, service.url));
}

async function fetchAnswer(body: string | Uint8Array, of: Uint8Array = report): Promise<ThimAnswer> {
  const service = await startService();
  service.answers.set(PATH, (response, { headers }) => {
    // As Azure's metadata service does: a request that was forged by a page or a redirect lacks the header.
    if (headers["metadata"] === "true") answerWith(body)(response);
    else response.writeHead(400).end();
  });
  return fetchFrom(service, parseSnpReport(of));
}

test("the certificates of the chip are had from THIM, and verify its report", async () => {
  const got = await fetchAnswer(JSON.stringify(answer));
  const certificates = "certificates" in got ? got.certificates : [];
  const options = { trustAnchors: asVendorRoot(vendor, "Milan"), at: NOW };
  expect(verifySnp({ kind: "snp", report, certificates }, options).product).toBe("Milan");
});

test("the hex of tcbm may be of either case", async () => {
  expect(await fetchAnswer(JSON.stringify({ ...answer, tcbm: "DB18000000000004" }))).toHaveProperty("certificates");
});

test.each(["db18000000000003", "04000000000018db", "db180000000004", "", "0xdb18000000000004"])(
  "certificates of another TCB, %j, are ignored, and the reason is said",
  async (tcbm) => {
    const got = await fetchAnswer(JSON.stringify({ ...answer, tcbm }));
    expect(got).toEqual({
      ignored: `THIM has the VCEK of the TCB ${JSON.stringify(tcbm)}, the report's is db18000000000004`,
    });
  },
);

test.each<[string, Readonly<Record<string, unknown>>]>([
  ["a certificate that is not PEM", { vcekCert: "MII" }],
  ["no certificate", { vcekCert: undefined }],
  ["no chain", { certificateChain: "" }],
  ["a tcbm that is a number", { tcbm: 7 }],
])("an answer with %s is refused", async (_, changes) => {
  await expect(fetchAnswer(JSON.stringify({ ...answer, ...changes }))).rejects.toEqual(
    expect.objectContaining({ code: "malformed_endorsement" }),
  );
});

test("an answer that is no JSON is refused", async () => {
  await expect(fetchAnswer("<html>")).rejects.toEqual(expect.objectContaining({ code: "malformed_endorsement" }));
});

test("where there is no THIM, the error says so", async () => {
  const service = await startService();
  await service.close();
  await expect(fetchFrom(service, parseSnpReport(report))).rejects.toEqual(
    expect.objectContaining({ code: "vendor_unreachable" }),
  );
});

const VECTOR = join(import.meta.dirname, "../../../shared/vectors/snp-milan-v2-thim");
const available = existsSync(VECTOR);

if (!available) test.skip("recorded answer of THIM: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded answer of THIM", () => {
  const read = (file: string): Uint8Array => readFileSync(join(VECTOR, file));

  test("verifies the report that was recorded with it", async () => {
    const recorded = read("report.bin");
    const got = await fetchAnswer(read("thim.json"), recorded);
    const certificates = "certificates" in got ? got.certificates : [];
    expect(certificates).toHaveLength(3);
    expect(isEqual(read("vcek.der"), certificates[0] ?? Buffer.of())).toBe(true);
    const options = { trustAnchors: AMD_ROOTS, at: new Date("2023-06-01T00:00:00Z") };
    expect(verifySnp({ kind: "snp", report: recorded, certificates }, options).product).toBe("Milan");
  });

  test("is ignored for a report of another TCB", async () => {
    expect(await fetchAnswer(read("thim.json"))).toHaveProperty("ignored");
  });
});
