import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { toUtf8 } from "../../bytes/encode.ts";
import type { EvidenceCode } from "../error.ts";
import type { TdxCollateral, TdxEvidence } from "../evidence.ts";
import { INTEL_ROOTS } from "../tdx/roots.ts";
import {
  createTestVendor,
  makeCollateral,
  makeEvidence,
  NOW,
  type Scenario,
  type TestVendor,
} from "../tdx/test-vendor.ts";
import { verifyTdx } from "../tdx/verify.ts";
import { HighWaterMark } from "../high-water.ts";
import { parseTdxQuote } from "../tdx/quote.ts";
import { verifyEvidence } from "../verify.ts";
import type { EndorsementCode } from "./error.ts";
import { fetchTdxCollateral, pckCrlUrl, QE_IDENTITY_URL, ROOT_CRL_URL, tcbInfoUrl, type TdxPlatform } from "./intel.ts";
import { answerWith, startService, testCache, testNetwork, type TestService } from "./test-service.ts";
import { vendorsThrough } from "./vendors.ts";

let vendor: TestVendor;

beforeAll(async () => {
  vendor = await createTestVendor();
});

const FMSPC = Buffer.from("90c06f000000", "hex");
const PCS = "api.trustedservices.intel.com";
const PATHS = {
  tcbInfo: `${PCS}/tdx/certification/v4/tcb?fmspc=90c06f000000`,
  qeIdentity: `${PCS}/tdx/certification/v4/qe/identity`,
  platformCrl: `${PCS}/sgx/certification/v4/pckcrl?ca=platform&encoding=der`,
  processorCrl: `${PCS}/sgx/certification/v4/pckcrl?ca=processor&encoding=der`,
  rootCrl: "certificates.trustedservices.intel.com/IntelSGXRootCA.der",
} as const;

const TCB_INFO_CHAIN = "TCB-Info-Issuer-Chain";
const QE_IDENTITY_CHAIN = "SGX-Enclave-Identity-Issuer-Chain";

function serveCollateral(service: TestService, collateral: TdxCollateral, tcbInfoPath: string = PATHS.tcbInfo): void {
  const chain = encodeURIComponent(toUtf8(collateral.signingChain));
  service.answers.set(tcbInfoPath, answerWith(collateral.tcbInfo, { [TCB_INFO_CHAIN]: chain }));
  service.answers.set(PATHS.qeIdentity, answerWith(collateral.qeIdentity, { [QE_IDENTITY_CHAIN]: chain }));
  service.answers.set(PATHS.platformCrl, answerWith(collateral.pckCrl));
  service.answers.set(PATHS.rootCrl, answerWith(collateral.rootCrl));
}

async function serve(
  scenario: Scenario = {},
): Promise<{ readonly evidence: TdxEvidence; readonly service: TestService; readonly served: TdxCollateral }> {
  const { collateral: _, ...evidence } = makeEvidence(vendor, scenario);
  const served = makeCollateral(vendor, scenario);
  const service = await startService();
  serveCollateral(service, served);
  return { evidence, service, served };
}

const PLATFORM: TdxPlatform = { fmspc: FMSPC, ca: "platform" };

function fetchFor(service: TestService, platform = PLATFORM): Promise<TdxCollateral> {
  return fetchTdxCollateral(platform, testCache(service, testNetwork(NOW)).cache);
}

function refusal(code: EndorsementCode | EvidenceCode, more: object = {}): unknown {
  return expect.objectContaining({ code, ...more });
}

test("collateral is fetched by what the certificate says of the platform, byte for byte, and verifies the quote", async () => {
  const { evidence, service, served } = await serve();
  const collateral = await fetchFor(service);
  expect(collateral).toEqual(served);
  const trustAnchors = new Set([vendor.rootDigest]);
  expect(verifyTdx(evidence, { collateral, trustAnchors, at: NOW }).tcbStatus).toBe("UpToDate");
  const { processorCrl: _, ...asked } = PATHS;
  expect(service.requests.toSorted()).toEqual(Object.values(asked).toSorted());
});

test("a platform of the Processor CA is judged by that CA's list", async () => {
  const { evidence, service } = await serve({
    ca: { subject: "Intel SGX PCK Processor CA" },
    pck: { issuer: "Intel SGX PCK Processor CA" },
  });
  const { pckCrl } = makeCollateral(vendor, { pckCrl: { issuer: "Intel SGX PCK Processor CA" } });
  service.answers.set(PATHS.processorCrl, answerWith(pckCrl));
  const collateral = await fetchFor(service, { ...PLATFORM, ca: "processor" });
  const trustAnchors = new Set([vendor.rootDigest]);
  expect(verifyTdx(evidence, { collateral, trustAnchors, at: NOW }).tcbStatus).toBe("UpToDate");
});

test("while Intel changes its signer, both signers are handed on", async () => {
  const { evidence, service } = await serve();
  const renewed = makeCollateral(vendor, { signer: { serial: 0x1004 } });
  const chain = encodeURIComponent(toUtf8(renewed.signingChain).trimEnd());
  service.answers.set(PATHS.qeIdentity, answerWith(renewed.qeIdentity, { [QE_IDENTITY_CHAIN]: chain }));
  const collateral = await fetchFor(service);
  expect(toUtf8(collateral.signingChain).match(/BEGIN/g)).toHaveLength(4);
  const trustAnchors = new Set([vendor.rootDigest]);
  expect(verifyTdx(evidence, { collateral, trustAnchors, at: NOW }).tcbStatus).toBe("UpToDate");
});

test.each<[string, (service: TestService, collateral: TdxCollateral) => void]>([
  ["TCB info that is no JSON", ({ answers }) => answers.set(PATHS.tcbInfo, answerWith("<html>"))],
  ["TCB info without its chain", ({ answers }, { tcbInfo }) => answers.set(PATHS.tcbInfo, answerWith(tcbInfo))],
  [
    "TCB info with a chain that is not percent-encoded",
    ({ answers }, { tcbInfo }) => answers.set(PATHS.tcbInfo, answerWith(tcbInfo, { [TCB_INFO_CHAIN]: "%ZZ" })),
  ],
  [
    "another document",
    ({ answers }, { tcbInfo, signingChain }) => {
      const chain = encodeURIComponent(toUtf8(signingChain));
      answers.set(PATHS.qeIdentity, answerWith(tcbInfo, { [QE_IDENTITY_CHAIN]: chain }));
    },
  ],
  ["a PCK list in PEM", ({ answers }) => answers.set(PATHS.platformCrl, answerWith("-----BEGIN X509 CRL-----"))],
  ["a root list that is a certificate", ({ answers }) => answers.set(PATHS.rootCrl, answerWith(Buffer.of(0x30, 0)))],
])("%s is refused", async (_, spoil) => {
  const { service } = await serve();
  spoil(service, makeCollateral(vendor));
  await expect(fetchFor(service)).rejects.toEqual(refusal("malformed_endorsement"));
});

test("a platform that Intel does not know is refused, and the error names the address", async () => {
  const { service } = await serve();
  service.answers.delete(PATHS.tcbInfo);
  const where = new URL(PATHS.tcbInfo, service.url).href;
  await expect(fetchFor(service)).rejects.toEqual(refusal("vendor_refused", { where }));
});

test("while Intel is down, collateral that was fetched before is used until its nextUpdate", async () => {
  const { service } = await serve();
  const network = testNetwork(NOW);
  const { cache } = testCache(service, network);
  const before = await fetchTdxCollateral(PLATFORM, cache);
  await service.close();
  network.time = new Date("2026-06-18T23:59:59Z");
  expect(await fetchTdxCollateral(PLATFORM, cache)).toEqual(before);
  network.time = new Date("2026-06-19T00:00:00Z");
  await expect(fetchTdxCollateral(PLATFORM, cache)).rejects.toEqual(refusal("vendor_unreachable"));
});

test("a document is not kept for longer than its signer's certificate is valid", async () => {
  const { service } = await serve({ signer: { notAfter: new Date("2026-06-10T00:00:00Z") } });
  const network = testNetwork(NOW);
  const { cache } = testCache(service, network);
  await fetchTdxCollateral(PLATFORM, cache);
  await service.close();
  network.time = new Date("2026-06-10T00:00:00Z");
  await expect(fetchTdxCollateral(PLATFORM, cache)).rejects.toEqual(refusal("vendor_unreachable"));
});

test("everything is at Intel's addresses", () => {
  const urls = [tcbInfoUrl(FMSPC), QE_IDENTITY_URL, pckCrlUrl("platform"), pckCrlUrl("processor"), ROOT_CRL_URL];
  expect(urls.map(({ href }) => href)).toEqual(Object.values(PATHS).map((path) => `https://${path}`));
});

/** Recorded evidence. It lies beside the checkout, not in it. */
const VECTORS = join(import.meta.dirname, "../../../shared/vectors");
const available = existsSync(VECTORS);

if (!available) test.skip("recorded TDX evidence: there is no folder ../shared/vectors beside the checkout");

describe.runIf(available)("recorded TDX evidence", () => {
  test.each([
    ["tdx-v4-dcapqvl", "2025-06-20T12:00:00Z"],
    ["tdx-v5-google", "2026-02-25T00:00:00Z"],
  ])("%s is verified with collateral that was fetched", async (id, time) => {
    const read = (file: string): Uint8Array => readFileSync(join(VECTORS, id, file));
    const tcbInfo = read("tcb_info.json");
    const [, fmspc = ""] = /"fmspc":"([0-9a-fA-F]{12})"/.exec(toUtf8(tcbInfo)) ?? [];
    const service = await startService();
    const recorded = {
      tcbInfo,
      qeIdentity: read("qe_identity.json"),
      signingChain: read("tcb_signing_chain.pem"),
      pckCrl: read("pck_crl.der"),
      rootCrl: read("root_ca_crl.der"),
    };
    const path = `${PCS}/tdx/certification/v4/tcb?fmspc=${fmspc.toLowerCase()}`;
    serveCollateral(service, recorded, path);
    const at = new Date(time);
    const { cache } = testCache(service, testNetwork(at));
    const evidence: TdxEvidence = { kind: "tdx", quote: read("quote.bin") };
    const verified = await verifyEvidence(
      { evidence, reportData: parseTdxQuote(evidence.quote).body.reportData },
      {
        snpAnchors: new Map(),
        tdxAnchors: INTEL_ROOTS,
        now: () => at,
        highWater: new HighWaterMark(),
        vendors: vendorsThrough(cache),
      },
    );
    expect(verified.kind === "tdx" && verified.tcbStatus).toBe(
      verifyTdx(evidence, { collateral: recorded, trustAnchors: INTEL_ROOTS, at }).tcbStatus,
    );
  });
});
