import { beforeAll, expect, test } from "vitest";
import { vcekUrl } from "../endorsements/amd.ts";
import type { EndorsementError } from "../endorsements/error.ts";
import { answerWith, startService, testCache, testNetwork, type TestService } from "../endorsements/test-service.ts";
import { vendorsThrough } from "../endorsements/vendors.ts";
import type { EvidenceError } from "../error.ts";
import type { Attester, Evidence, SnpEvidence } from "../evidence.ts";
import { MACHINE_TCB } from "../simulated/machine.ts";
import { CHIP_ID, createTestVendor, makeEvidence, NOW, reportOf } from "../snp/test-vendor.ts";
import * as intel from "../tdx/test-vendor.ts";
import { withEndorsement } from "./with-endorsement.ts";

let whole: SnpEvidence;
let masked: SnpEvidence;

beforeAll(async () => {
  const vendor = await createTestVendor();
  whole = makeEvidence(vendor);
  masked = makeEvidence(vendor, {
    report: { ...reportOf("Milan", "vcek"), chipId: Buffer.alloc(64), maskChipKey: true },
  });
});

const { host, pathname, search } = vcekUrl({ product: "Milan", chipId: CHIP_ID, tcb: MACHINE_TCB });
const VCEK = `${host}${pathname}${search}`;

interface Setup {
  readonly service: TestService;
  readonly collect: () => Promise<Evidence>;
  readonly missing: (EndorsementError | EvidenceError)[];
  readonly wait: (seconds: number) => void;
}

/** An attester that gives this evidence, and what becomes of it. */
async function setup(evidence: Evidence, isStrict = false): Promise<Setup> {
  const service = await startService();
  const network = testNetwork(NOW);
  const missing: Setup["missing"] = [];
  const attester: Attester = { insecure: undefined, collect: async () => evidence };
  const endorsed = withEndorsement(
    attester,
    vendorsThrough(testCache(service, network).cache),
    { hurry: !isStrict },
    (error) => {
      missing.push(error);
      if (isStrict) throw error;
    },
  );
  const wait = (seconds: number): void => void (network.time = new Date(network.time.getTime() + seconds * 1000));
  return { service, missing, collect: () => endorsed.collect(Buffer.alloc(64)), wait };
}

test("nobody is asked where the host gives the certificate along, nor for a quote", async () => {
  const quote = intel.makeEvidence(await intel.createTestVendor());
  for (const evidence of [whole, { ...whole, certificates: whole.certificates.slice(0, 1) }, quote]) {
    const { service, collect } = await setup(evidence);
    expect(await collect()).toEqual(evidence);
    expect(service.requests).toEqual([]);
  }
});

test("AMD is asked once where the host gives none, however often evidence is collected", async () => {
  const { service, collect } = await setup({ ...whole, certificates: [] });
  service.answers.set(VCEK, answerWith(whole.certificates[0] ?? ""));
  for (let times = 0; times < 3; times++) {
    expect(await collect()).toEqual({ ...whole, certificates: whole.certificates.slice(0, 1) });
  }
  expect(service.requests).toEqual([VCEK]);
});

test("whoever can't do without it fails, and can try again", async () => {
  const { service, collect, wait } = await setup({ ...whole, certificates: [] }, true);
  await expect(collect()).rejects.toMatchObject({ code: "vendor_refused" });
  service.answers.set(VCEK, answerWith(whole.certificates[0] ?? ""));
  wait(10);
  expect(await collect()).toMatchObject({ certificates: [whole.certificates[0]] });
});

test("whoever can do without it is told once why there is none, however often a stranger has him collect", async () => {
  const { service, collect, missing, wait } = await setup({ ...whole, certificates: [] });
  for (let times = 0; times < 100; times++) expect(await collect()).toEqual({ ...whole, certificates: [] });
  expect(missing).toMatchObject([{ code: "vendor_refused" }]);
  expect(service.requests).toEqual([VCEK]);
  wait(10);
  await collect();
  expect(missing).toHaveLength(2);
});

test("whoever can do without it does not wait while AMD is down, and whoever can't, does", async () => {
  for (const [isStrict, tries] of [
    [false, 1],
    [true, 3],
  ] as const) {
    const { service, collect } = await setup({ ...whole, certificates: [] }, isStrict);
    service.answers.set(VCEK, (response) => response.writeHead(503).end());
    await collect().catch(() => undefined);
    expect(service.requests).toHaveLength(tries);
  }
});

test("a chip that the host masks can't be asked about, and evidence without a certificate still says so", async () => {
  const { service, collect, missing } = await setup({ ...masked, certificates: [] });
  for (let times = 0; times < 3; times++) expect(await collect()).toEqual({ ...masked, certificates: [] });
  expect(missing).toMatchObject([{ code: "chip_id_mismatch" }]);
  expect(service.requests).toEqual([]);
});
