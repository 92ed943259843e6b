import { beforeAll, describe, expect, test } from "vitest";
import { toUtf8 } from "../bytes/encode.ts";
import { encodeInteger, encodeTime } from "../pki/der-writer.ts";
import { generateEcKey } from "../pki/keys.ts";
import { crlUrl, issuersUrl, vcekUrl } from "./endorsements/amd.ts";
import { pckCrlUrl, QE_IDENTITY_URL, ROOT_CRL_URL, tcbInfoUrl } from "./endorsements/intel.ts";
import {
  answerWith,
  startService,
  testCache,
  type TestNetwork,
  testNetwork,
  type TestService,
} from "./endorsements/test-service.ts";
import type { EndorsementCode } from "./endorsements/error.ts";
import { vendorsThrough } from "./endorsements/vendors.ts";
import type { EvidenceCode } from "./error.ts";
import type { Evidence, SnpEvidence, TdxCollateral } from "./evidence.ts";
import { EvidenceCache } from "./evidence-cache.ts";
import { HighWaterMark } from "./high-water.ts";
import { amdSigner, encodeName, encodeSigned } from "./simulated/certificates.ts";
import { MACHINE_TCB } from "./simulated/machine.ts";
import * as amd from "./snp/test-vendor.ts";
import { parseSnpReport } from "./snp/report.ts";
import { parseTdxQuote } from "./tdx/quote.ts";
import * as intel from "./tdx/test-vendor.ts";
import { flipped } from "./test-refusal.ts";
import { verifyCompleteEvidence, verifyEvidence } from "./verify.ts";
import { wholeEvidence } from "./whole-evidence.ts";

const { NOW } = intel;
let amdVendor: amd.TestVendor;
let intelVendor: intel.TestVendor;

beforeAll(async () => {
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
});

const pathOf = ({ host, pathname, search }: URL): string => `${host}${pathname}${search}`;
const ISSUERS = pathOf(issuersUrl("vcek", "Milan"));
const CRL = pathOf(crlUrl("vcek", "Milan"));
const TCB_INFO = pathOf(tcbInfoUrl(Buffer.from("90c06f000000", "hex")));
const QE_IDENTITY = pathOf(QE_IDENTITY_URL);
const PCK_CRL = pathOf(pckCrlUrl("platform"));
const ROOT_CRL = pathOf(ROOT_CRL_URL);

function amdList(): Uint8Array {
  const signer = amdSigner(amdVendor.ark.privateKey);
  const [thisUpdate, nextUpdate] = [new Date("2026-05-01T00:00:00Z"), new Date("2026-07-01T00:00:00Z")];
  const fields = [encodeName("ARK-Milan"), encodeTime(thisUpdate), encodeTime(nextUpdate)];
  return encodeSigned(signer, [encodeInteger(1), signer.algorithm, ...fields]);
}

function serveIntel({ answers }: TestService, collateral: TdxCollateral): void {
  const chain = encodeURIComponent(toUtf8(collateral.signingChain));
  answers.set(TCB_INFO, answerWith(collateral.tcbInfo, { "TCB-Info-Issuer-Chain": chain }));
  answers.set(QE_IDENTITY, answerWith(collateral.qeIdentity, { "SGX-Enclave-Identity-Issuer-Chain": chain }));
  answers.set(PCK_CRL, answerWith(collateral.pckCrl));
  answers.set(ROOT_CRL, answerWith(collateral.rootCrl));
}

interface Verifier {
  readonly service: TestService;
  readonly network: TestNetwork;
  readonly highWater: HighWaterMark;
  readonly verify: (evidence: Evidence, reportData?: Uint8Array) => ReturnType<typeof verifyEvidence>;
}

/** Whoever verifies, and vendors that have everything. They are trusted as if they were AMD and Intel. */
async function verifier(): Promise<Verifier> {
  const service = await startService();
  const network = testNetwork(NOW);
  const [, ...issuers] = amd.makeEvidence(amdVendor).certificates;
  service.answers.set(ISSUERS, answerWith(intel.pem(...issuers)));
  service.answers.set(CRL, answerWith(amdList()));
  serveIntel(service, intel.makeCollateral(intelVendor));
  const highWater = new HighWaterMark();
  const options = {
    snpAnchors: amd.asVendorRoot(amdVendor, "Milan"),
    tdxAnchors: new Set([intelVendor.rootDigest]),
    now: network.now,
    highWater,
    vendors: vendorsThrough(testCache(service, network).cache),
    cache: new EvidenceCache(),
  };
  const verify = (evidence: Evidence, reportData = reportDataOf(evidence)) =>
    verifyEvidence({ evidence, reportData }, options);
  return { service, network, highWater, verify };
}

function reportDataOf(evidence: Evidence): Uint8Array {
  return evidence.kind === "snp"
    ? parseSnpReport(evidence.report).reportData
    : parseTdxQuote(evidence.quote).body.reportData;
}

/** With the certificate of the chip, and nothing that is not per chip. */
function report(scenario: amd.Scenario = {}): SnpEvidence {
  const evidence = amd.makeEvidence(amdVendor, scenario);
  return { ...evidence, certificates: evidence.certificates.slice(0, 1) };
}

function quote(scenario: intel.Scenario = {}): Evidence {
  const { collateral: _, ...evidence } = intel.makeEvidence(intelVendor, scenario);
  return evidence;
}

const refusal = (code: EvidenceCode | EndorsementCode): unknown => expect.objectContaining({ code });

describe("SNP", () => {
  test("what is not per chip is asked for once, for all chips", async () => {
    const { service, verify } = await verifier();
    for (const chip of [0xc1, 0xc2, 0xc3]) {
      const chipId = Buffer.alloc(64, chip);
      const leaf = { extensions: amd.vcek("Milan", { "1.3.6.1.4.1.3704.1.4": chipId }) };
      expect(await verify(report({ report: { chipId }, leaf }))).toMatchObject({ kind: "snp", product: "Milan" });
    }
    expect(service.requests).toEqual([ISSUERS, CRL]);
  });

  test("nothing is asked where the signature is not that of the key that came along", async () => {
    const { service, verify } = await verifier();
    const right = report();
    for (const offset of [0x50, 0x90, 0xc0, 0x1a0, 0x2a0]) {
      const spoilt = { ...right, report: flipped(right.report, 8 * offset) };
      await expect(verify(spoilt)).rejects.toEqual(refusal("report_signature"));
    }
    await expect(verify({ ...right, certificates: [] })).rejects.toEqual(refusal("certificate_missing"));
    expect(service.requests).toEqual([]);
  });

  test("nothing is asked for evidence of another connection", async () => {
    const { service, verify } = await verifier();
    await expect(verify(report(), Buffer.alloc(64, 1))).rejects.toEqual(refusal("report_data_mismatch"));
    expect(service.requests).toEqual([]);
  });

  test("a key of the sender's own gets no further than to the issuers, which are asked for once", async () => {
    const { service, verify } = await verifier();
    const own = amd.makeEvidence(await amd.createTestVendor("other"));
    const made = { ...own, certificates: own.certificates.slice(0, 1) };
    for (let times = 0; times < 20; times++) await expect(verify(made)).rejects.toEqual(refusal("chain_signature"));
    expect(service.requests).toEqual([ISSUERS]);
    // Who brings issuers of his own along does not even get there.
    service.requests.length = 0;
    await expect(verify(own)).rejects.toEqual(refusal("untrusted_root"));
    expect(service.requests).toEqual([]);
  });

  test("where the issuers can't be had, strangers do not make a verifier ask again and again", async () => {
    const { service, network, verify } = await verifier();
    service.answers.set(ISSUERS, (response) => response.writeHead(429).end());
    const evidence = report();
    for (let second = 0; second < 600; second += 5) {
      network.time = new Date(NOW.getTime() + second * 1000);
      await expect(verify(evidence)).rejects.toEqual(refusal("vendor_unreachable"));
    }
    // Three tries each time, and seven times in ten minutes.
    expect(service.requests.length).toBeLessThanOrEqual(7 * 3);
    expect(new Set(service.requests)).toEqual(new Set([ISSUERS]));
  });

  test("while AMD can't be asked, the list that the sender brought will do, and no other than AMD's", async () => {
    const { service, verify } = await verifier();
    const whole = amd.makeEvidence(amdVendor);
    await service.close();
    await expect(verify(whole)).rejects.toEqual(refusal("vendor_unreachable"));
    expect(await verify({ ...whole, crl: amdList() })).toBeDefined();
    await expect(verify({ ...whole, crl: flipped(amdList(), 8 * 60) })).rejects.toThrow();
  });

  test("where AMD answers, what the sender brought along does not matter", async () => {
    const { service, verify } = await verifier();
    service.answers.delete(CRL);
    await expect(verify({ ...report(), crl: amdList() })).rejects.toEqual(refusal("vendor_refused"));
  });
});

describe("TDX", () => {
  test("what is not per chip is asked for once", async () => {
    const { service, verify } = await verifier();
    for (let times = 0; times < 3; times++) expect(await verify(quote())).toMatchObject({ tcbStatus: "UpToDate" });
    expect(service.requests.toSorted()).toEqual([TCB_INFO, QE_IDENTITY, PCK_CRL, ROOT_CRL].toSorted());
  });

  test("nothing is asked before the quote is verified up to the pinned root", async () => {
    const { service, verify } = await verifier();
    const other = await intel.createTestVendor();
    const stranger = await generateEcKey("P-256");
    const { quote: right } = intel.makeEvidence(intelVendor);
    const wrong: readonly (readonly [Evidence, EvidenceCode])[] = [
      // Somebody's own root; a platform that nobody issued; one that another CA of the name issued.
      [{ kind: "tdx", quote: intel.makeEvidence(other).quote }, "untrusted_root"],
      [quote({ pckSigner: intel.intelSigner(stranger.privateKey) }), "chain_signature"],
      [quote({ caSigner: intel.intelSigner(stranger.privateKey) }), "chain_signature"],
      // An attestation key that no quoting enclave vouches for; a quoting enclave that no platform vouches for.
      [quote({ qeReport: { reportData: Buffer.alloc(64) } }), "attestation_key_mismatch"],
      [quote({ quote: { qeReportSignature: Buffer.alloc(64, 1) } }), "qe_report_signature"],
      // A changed quote.
      [{ kind: "tdx", quote: flipped(right, 8 * 200) }, "report_signature"],
    ];
    for (const [evidence, code] of wrong) await expect(verify(evidence)).rejects.toEqual(refusal(code));
    await expect(verify(quote(), Buffer.alloc(64, 1))).rejects.toEqual(refusal("report_data_mismatch"));
    expect(service.requests).toEqual([]);
  });

  test("while Intel can't be asked, what the sender brought along will do", async () => {
    const { service, verify, highWater } = await verifier();
    await service.close();
    await expect(verify(quote())).rejects.toEqual(refusal("vendor_unreachable"));
    expect(await verify(intel.makeEvidence(intelVendor))).toBeDefined();
    expect(highWater.mark).toMatchObject({ evaluation: undefined, time: { what: "issueDate of the TCB info" } });
  });

  test("where Intel answers, what the sender brought along does not matter", async () => {
    const { service, verify } = await verifier();
    service.answers.delete(TCB_INFO);
    await expect(verify(intel.makeEvidence(intelVendor))).rejects.toEqual(refusal("vendor_refused"));
  });
});

describe("collateral of before Intel's latest evaluation", () => {
  const ofEvaluation = (number: number): TdxCollateral =>
    intel.makeCollateral(intelVendor, {
      tcbInfo: { tcbEvaluationDataNumber: number },
      qeIdentity: { tcbEvaluationDataNumber: number },
    });
  const later = (minutes: number): Date => new Date(NOW.getTime() + minutes * 60_000);

  test("is refused where it comes back, and nothing but what is newer takes its place", async () => {
    const { service, network, verify } = await verifier();
    await verify(quote());
    // What is kept is not fresh any more, and what stands between has only the old one.
    network.time = later(25 * 60);
    serveIntel(service, ofEvaluation(17));
    for (const minutes of [0, 1, 10]) {
      network.time = later(25 * 60 + minutes);
      await expect(verify(quote())).rejects.toEqual(refusal("collateral_superseded"));
    }
    serveIntel(service, ofEvaluation(19));
    network.time = later(26 * 60);
    expect(await verify(quote())).toMatchObject({ tcbEvaluationDataNumbers: [19, 19] });
  });

  test("is asked for anew where it was kept, so that nobody waits for a cache", async () => {
    const { service, network, verify } = await verifier();
    const { tcbInfo, signingChain } = ofEvaluation(18);
    const headers = { "TCB-Info-Issuer-Chain": encodeURIComponent(toUtf8(signingChain)) };
    service.answers.set(TCB_INFO, answerWith(tcbInfo, { ...headers, "cache-control": "max-age=86400" }));
    await verify(quote());
    // Intel evaluates. The QE identity is not fresh any more, the TCB info is.
    network.time = later(2 * 60);
    serveIntel(service, ofEvaluation(19));
    service.requests.length = 0;
    expect(await verify(quote())).toMatchObject({ tcbEvaluationDataNumbers: [19, 19] });
    expect(service.requests.filter((path) => path === TCB_INFO)).toHaveLength(1);
    expect(service.requests.filter((path) => path === QE_IDENTITY)).toHaveLength(1);
  });

  test("that the sender brought is refused, and that of a later evaluation moves nothing", async () => {
    const { service, network, verify, highWater } = await verifier();
    await verify(quote());
    await service.close();
    // What was fetched is not valid any more.
    network.time = new Date("2026-07-02T00:00:00Z");
    const validity = { issueDate: "2026-07-01T00:00:00Z", nextUpdate: "2026-08-01T00:00:00Z" };
    const list = { thisUpdate: new Date(validity.issueDate), nextUpdate: new Date(validity.nextUpdate) };
    const brought = (tcbEvaluationDataNumber: number): Evidence =>
      intel.makeEvidence(intelVendor, {
        tcbInfo: { ...validity, tcbEvaluationDataNumber },
        qeIdentity: { ...validity, tcbEvaluationDataNumber },
        rootCrl: list,
        pckCrl: list,
      });
    await expect(verify(brought(17))).rejects.toEqual(refusal("collateral_superseded"));
    // Early for those who ask Intel for it; nobody may shut out the others by it.
    expect(await verify(brought(19))).toBeDefined();
    expect(highWater.mark.evaluation).toBe(18);
    expect(await verify(brought(18))).toBeDefined();
  });
});

describe("evidence for who can't ask the vendors", () => {
  /** Adds what lacks, with vendors that have everything, and verifies without any. */
  async function whole(evidence: Evidence, changes: (service: TestService) => void = () => undefined) {
    const { service, network } = await verifier();
    const path = pathOf(vcekUrl({ product: "Milan", chipId: amd.CHIP_ID, tcb: MACHINE_TCB }));
    service.answers.set(path, answerWith(amd.makeEvidence(amdVendor).certificates[0] ?? ""));
    changes(service);
    const { cache } = testCache(service, network);
    const tdxAnchors = new Set([intelVendor.rootDigest]);
    const completed = await wholeEvidence(evidence, { vendors: vendorsThrough(cache), tdxAnchors, now: network.now });
    const snpAnchors = amd.asVendorRoot(amdVendor, "Milan");
    const options = { snpAnchors, tdxAnchors, at: NOW, cache: undefined };
    const bound = { evidence: completed, reportData: reportDataOf(evidence) };
    return { completed, requests: service.requests, verified: verifyCompleteEvidence(bound, options) };
  }

  test("SNP: the certificate of the chip, its issuers and the list are added where they lack", async () => {
    for (const own of [0, 1, 2, 3]) {
      const full = amd.makeEvidence(amdVendor);
      const { verified, completed } = await whole({ ...full, certificates: full.certificates.slice(0, own) });
      expect(verified).toMatchObject({ kind: "snp", product: "Milan" });
      expect(completed).toMatchObject({ report: full.report, crl: expect.any(Buffer) as unknown });
    }
  });

  test("TDX: the collateral is added", async () => {
    const { verified, completed } = await whole(quote());
    expect(verified).toMatchObject({ kind: "tdx" });
    expect(completed).toMatchObject({ collateral: { tcbInfo: expect.any(Buffer) as unknown } });
  });

  test("nothing is half: where the vendor does not answer, there is none", async () => {
    const missing = (...paths: readonly string[]) => {
      return ({ answers }: TestService): void => paths.forEach((path) => answers.delete(path));
    };
    await expect(whole(report(), missing(CRL))).rejects.toEqual(refusal("vendor_refused"));
    await expect(whole(report(), missing(ISSUERS))).rejects.toEqual(refusal("vendor_refused"));
    await expect(whole(quote(), missing(PCK_CRL))).rejects.toEqual(refusal("vendor_refused"));
    await expect(whole(quote(), missing(TCB_INFO))).rejects.toEqual(refusal("vendor_refused"));
  });

  test("evidence that is not of the key that came along is not completed", async () => {
    const right = report();
    const spoilt = { ...right, report: flipped(right.report, 8 * 0x50) };
    await expect(whole(spoilt)).rejects.toEqual(refusal("report_signature"));
  });
});
