import { beforeAll, expect, test } from "vitest";
import { createTestVendor as createAmd, makeEvidence as makeReport } from "../snp/test-vendor.ts";
import {
  createTestVendor as createIntel,
  makeEvidence as makeQuote,
  NOW,
  type TestVendor,
} from "../tdx/test-vendor.ts";
import type { SnpEvidence } from "../evidence.ts";
import { completeEvidence } from "./complete.ts";
import { startService, testCache, testNetwork } from "./test-service.ts";

let intel: TestVendor;
let report: SnpEvidence;

beforeAll(async () => {
  intel = await createIntel();
  report = makeReport(await createAmd());
});

test("where the vendor can't be asked, what the sender brought along will do", async () => {
  const service = await startService();
  const { cache } = testCache(service, testNetwork(NOW));
  await service.close();
  const quote = makeQuote(intel);
  expect(await completeEvidence(quote, cache)).toEqual(quote);
  const withList = { ...report, crl: Buffer.from("a list") };
  expect(await completeEvidence(withList, cache)).toEqual(withList);
});

test("where the vendor can't be asked and the sender brought nothing, the evidence is refused", async () => {
  const service = await startService();
  const { cache } = testCache(service, testNetwork(NOW));
  await service.close();
  const { collateral: _, ...quote } = makeQuote(intel);
  await expect(completeEvidence(quote, cache)).rejects.toMatchObject({ code: "vendor_unreachable" });
  await expect(completeEvidence(report, cache)).rejects.toMatchObject({ code: "vendor_unreachable" });
});

test("where the vendor answers, what the sender brought along does not matter", async () => {
  const service = await startService();
  const { cache } = testCache(service, testNetwork(NOW));
  // The service has nothing to say: that is an answer, too.
  await expect(completeEvidence(makeQuote(intel), cache)).rejects.toMatchObject({ code: "vendor_refused" });
  expect(service.requests.length).toBeGreaterThan(0);
});
