import { beforeAll, describe, expect, test } from "vitest";
import { isEqual } from "../bytes/encode.ts";
import { encodeDer, encodeInteger, encodeTime } from "../pki/der-writer.ts";
import { TAG } from "../pki/der.ts";
import { type HighWater, HighWaterMark, isSuperseded, NOTHING_SEEN, raised, refuseSuperseded } from "./high-water.ts";
import { amdSigner, encodeName, encodeSigned } from "./simulated/certificates.ts";
import { simulatedRoots } from "./snp/roots.ts";
import * as amd from "./snp/test-vendor.ts";
import { type VerifiedSnpReport, verifySnp } from "./snp/verify.ts";
import { SGX_OID } from "./tdx/pck.ts";
import * as intel from "./tdx/test-vendor.ts";
import { type VerifiedTdxQuote, verifyTdx } from "./tdx/verify.ts";

let amdVendor: amd.TestVendor;
let intelVendor: intel.TestVendor;

beforeAll(async () => {
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
});

/** Verified for NOW. */
function quote(scenario: intel.Scenario = {}, at = intel.NOW): VerifiedTdxQuote {
  const trustAnchors = new Set([intelVendor.rootDigest]);
  return verifyTdx(intel.makeEvidence(intelVendor, scenario), { trustAnchors, at });
}

/** @param numbers of the TCB info and the QE identity */
function evaluated(tcbInfo: number, qeIdentity = tcbInfo): VerifiedTdxQuote {
  return quote({ tcbInfo: { tcbEvaluationDataNumber: tcbInfo }, qeIdentity: { tcbEvaluationDataNumber: qeIdentity } });
}

function report(thisUpdate: string, insecure = false): VerifiedSnpReport {
  const signer = amdSigner(amdVendor.ark.privateKey);
  const crl = encodeSigned(signer, [
    encodeInteger(1),
    signer.algorithm,
    encodeName("ARK-Milan"),
    encodeTime(new Date(thisUpdate)),
    encodeTime(new Date("2026-07-01T00:00:00Z")),
  ]);
  const trustAnchors = insecure ? simulatedRoots([amdVendor.rootDigest]) : amd.asVendorRoot(amdVendor, "Milan");
  return verifySnp(amd.makeEvidence(amdVendor), { trustAnchors, at: amd.NOW, crl });
}

const timeOf = ({ time }: HighWater): string | undefined => time?.time.toISOString();

describe("the newest time that a vendor signed", () => {
  const fresh = "2026-05-30T00:00:00Z";
  const lists = { rootCrl: { thisUpdate: new Date(fresh) }, pckCrl: { thisUpdate: new Date(fresh) } };

  test.each<[string, intel.Scenario]>([
    ["issueDate of the TCB info", { tcbInfo: { issueDate: fresh } }],
    ["issueDate of the QE identity", { qeIdentity: { issueDate: fresh } }],
    ["thisUpdate of the revocation list of Intel SGX Root CA", { rootCrl: lists.rootCrl }],
    ["thisUpdate of the revocation list of Intel SGX PCK Platform CA", { pckCrl: lists.pckCrl }],
  ])("is the %s, where that is the newest", (what, scenario) => {
    const { time } = raised(NOTHING_SEEN, quote(scenario), true);
    expect(time).toEqual({ what, time: new Date(fresh) });
  });

  test("is that of AMD's revocation list", () => {
    expect(timeOf(raised(NOTHING_SEEN, report("2026-05-02T00:00:00Z"), true))).toBe("2026-05-02T00:00:00.000Z");
  });

  test("is never an older one again", () => {
    const marks = new HighWaterMark();
    for (const [thisUpdate, newest] of [
      ["2026-05-02T00:00:00Z", "2026-05-02T00:00:00.000Z"],
      ["2026-05-04T00:00:00Z", "2026-05-04T00:00:00.000Z"],
      ["2026-05-03T00:00:00Z", "2026-05-04T00:00:00.000Z"],
    ] as const) {
      marks.raise(report(thisUpdate), true);
      expect(timeOf(marks.mark)).toBe(newest);
    }
    marks.raise(quote(), true);
    expect(timeOf(marks.mark)).toBe("2026-05-20T00:00:00.000Z");
  });

  test("is none of a software TEE's: everybody has its keys", () => {
    expect(raised(NOTHING_SEEN, report("2026-05-31T00:00:00Z", true), true)).toBe(NOTHING_SEEN);
  });

  test("is none where nothing but certificates was verified", () => {
    const trustAnchors = amd.asVendorRoot(amdVendor, "Milan");
    const verified = verifySnp(amd.makeEvidence(amdVendor), { trustAnchors, at: amd.NOW });
    expect(raised(NOTHING_SEEN, verified, true).time).toBeUndefined();
  });

  test("can't lie ahead of the clock: by a vendor's mistake it would be refused", () => {
    const ahead = new Date(intel.NOW.getTime() + 1000);
    expect(() => quote({ tcbInfo: { issueDate: ahead.toISOString() } })).toThrow(
      expect.objectContaining({ code: "collateral_expired" }),
    );
    for (const list of ["rootCrl", "pckCrl"] as const) {
      expect(() => quote({ [list]: { thisUpdate: ahead } })).toThrow(expect.objectContaining({ code: "crl_expired" }));
    }
  });
});

describe("an evaluation of Intel's", () => {
  const seen = (...all: readonly VerifiedTdxQuote[]): HighWater =>
    all.reduce((mark, verified) => raised(mark, verified, true), NOTHING_SEEN);
  const superseded = expect.objectContaining({ code: "collateral_superseded" }) as unknown;

  test("is refused once a higher one was seen", () => {
    const mark = seen(evaluated(18));
    for (const verified of [evaluated(18), evaluated(19)]) {
      expect(() => refuseSuperseded(mark, verified)).not.toThrow();
    }
    for (const verified of [evaluated(17), evaluated(17, 18), evaluated(18, 17), evaluated(0)]) {
      expect(() => refuseSuperseded(mark, verified)).toThrow(superseded);
    }
  });

  test("is never a lower one again", () => {
    expect(seen(evaluated(18), evaluated(19), evaluated(18)).evaluation).toBe(19);
  });

  test("of another family of platforms counts as well: it is one count for all", () => {
    const fmspc = "b0c06f000000";
    const octets = encodeDer(TAG.octetString, Buffer.from(fmspc, "hex"));
    const other = (tcbEvaluationDataNumber: number): VerifiedTdxQuote =>
      quote({
        pck: { extensions: intel.pckExtensions({ [SGX_OID.fmspc]: octets }) },
        tcbInfo: { fmspc, tcbEvaluationDataNumber },
        qeIdentity: { tcbEvaluationDataNumber },
      });
    expect(isEqual(other(18).pck.fmspc, evaluated(18).pck.fmspc)).toBe(false);
    expect(isSuperseded(seen(evaluated(18)), other(17))).toBe(true);
    expect(isSuperseded(seen(evaluated(18)), other(18))).toBe(false);
    expect(isSuperseded(seen(other(18)), evaluated(17))).toBe(true);
  });

  test("may not differ between TCB info and QE identity, though nothing was seen", () => {
    expect(() => refuseSuperseded(NOTHING_SEEN, evaluated(18))).not.toThrow();
    for (const mixed of [evaluated(18, 19), evaluated(19, 18)]) {
      expect(() => refuseSuperseded(NOTHING_SEEN, mixed)).toThrow(superseded);
    }
  });

  test("that a peer brought along is compared, and moves nothing", () => {
    const mark = raised(seen(evaluated(18)), evaluated(19), false);
    expect(mark.evaluation).toBe(18);
    expect(isSuperseded(mark, evaluated(18))).toBe(false);
    expect(isSuperseded(mark, evaluated(17))).toBe(true);
    // Intel signed it all the same, so its time counts.
    expect(mark.time).toBeDefined();
  });
});
