import { describe, expect, test } from "vitest";
import { AMD_ROOTS } from "../attestation/snp/roots.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import { createTestVendor, makeEvidence, NOW } from "../attestation/tdx/test-vendor.ts";
import { INTEL_ROOTS } from "../attestation/tdx/roots.ts";
import { verifyTdx } from "../attestation/tdx/verify.ts";
import { evidenceOf } from "../test/verifier/judge.ts";
import { hasRecorded, recorded } from "../test/verifier/recorded.ts";
import { newestClaimed, newestSigned } from "./signed-times.ts";
import { endorsementsOf } from "./statement-nonce.ts";

/** Of no machine that is good enough. */
const REFUSED = /^neg|^tdx-v4-google-spr$/;

/** The time that a statement says is the newest of what was verified, whichever of the documents has it. */

test.each([
  ["TCB info", "issueDate of the TCB info", { tcbInfo: { issueDate: "2026-05-31T00:00:00Z" } }],
  ["QE identity", "issueDate of the QE identity", { qeIdentity: { issueDate: "2026-05-31T00:00:00Z" } }],
  [
    "list of the platform's CA",
    "thisUpdate of the revocation list of",
    { pckCrl: { thisUpdate: new Date("2026-05-31") } },
  ],
  ["list of the root", "thisUpdate of the revocation list of", { rootCrl: { thisUpdate: new Date("2026-05-31") } }],
])("TDX: the newest time is that of the %s", async (_, what, scenario) => {
  const vendor = await createTestVendor();
  const evidence = makeEvidence(vendor, scenario);
  const verified = verifyTdx(evidence, { trustAnchors: new Set([vendor.rootDigest]), at: NOW });
  const newest = newestSigned(verified);
  expect(newest.what).toContain(what);
  expect(newest.time.toISOString()).toBe("2026-05-31T00:00:00.000Z");
  expect(newestClaimed(evidence)).toEqual(newest.time);
  expect(new Set(endorsementsOf(evidence)).size).toBe(5);
});

test("TDX: a document that is none has no time, and a quote without collateral names none", async () => {
  const evidence = makeEvidence(await createTestVendor());
  const { collateral } = evidence;
  if (collateral === undefined) throw new Error("no collateral");
  for (const tcbInfo of [new Uint8Array(), Buffer.from("null"), Buffer.from('{"tcbInfo":{}}')]) {
    expect(Number(newestClaimed({ ...evidence, collateral: { ...collateral, tcbInfo } }))).toBeNaN();
  }
  expect(newestClaimed({ ...evidence, collateral: undefined })).toBeUndefined();
});

describe.skipIf(!hasRecorded)("recorded evidence", () => {
  test.each(recorded().filter(({ root, id }) => root === undefined && !REFUSED.test(id)))(
    "$id: what is claimed before is what was verified",
    (each) => {
      const evidence = evidenceOf(each);
      const at = new Date(each.at);
      const verified =
        evidence.kind === "snp"
          ? verifySnp(evidence, { trustAnchors: AMD_ROOTS, at, crl: evidence.crl })
          : verifyTdx(evidence, { trustAnchors: INTEL_ROOTS, at });
      expect(newestClaimed(evidence)).toEqual(newestSigned(verified).time);
    },
  );
});
