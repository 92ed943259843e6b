import { expect, test } from "vitest";
import { checkTime, Clock } from "./clock.ts";
import type { EvidenceCode } from "./error.ts";
import { createTestVendor, makeEvidence, NOW } from "./tdx/test-vendor.ts";
import { verifyTdx } from "./tdx/verify.ts";

const at = (text: string): Date => new Date(text);
const refusal = (code: EvidenceCode, where: string) => expect.objectContaining({ code, where }) as unknown;

const BUILT = at("2026-03-01T00:00:00Z");
const SIGNED = { what: "issueDate of the TCB info", time: at("2026-04-01T00:00:00Z") };
const NOT_BEFORE = at("2026-05-01T00:00:00Z");
const NOTHING = { built: undefined, signed: undefined, notBefore: undefined };

test.each<[string, object, Date, EvidenceCode, string]>([
  ["the build", { built: BUILT }, BUILT, "clock_before_build", "build time"],
  ["a vendor's signature", { signed: SIGNED }, SIGNED.time, "clock_before_vendor", SIGNED.what],
  ["the manifest", { notBefore: NOT_BEFORE }, at("2026-04-30T23:55:00Z"), "clock_before_manifest", "$.NotBefore"],
])("a time before %s is refused, to the millisecond", (_, past, first, code, where) => {
  const all = { ...NOTHING, ...past };
  expect(() => checkTime(first, all)).not.toThrow();
  expect(() => checkTime(new Date(first.getTime() - 1), all)).toThrow(refusal(code, where));
  expect(() => checkTime(at("1970-01-01"), all)).toThrow(refusal(code, where));
  expect(() => checkTime(new Date(Number.NaN), all)).toThrow(refusal(code, where));
});

test("how far the clock runs ahead can't be told", () => {
  expect(() => checkTime(at("2096-01-01"), { built: BUILT, signed: SIGNED, notBefore: NOT_BEFORE })).not.toThrow();
});

test("where nothing is known to have passed, every time will do", () => {
  expect(() => checkTime(at("1970-01-01"), NOTHING)).not.toThrow();
});

test("the clock of a process does not go back behind what vendors signed", async () => {
  let now = NOW;
  let asked = 0;
  const clock = new Clock({
    now: () => now,
    built: () => {
      asked++;
      return BUILT;
    },
  });
  expect(clock.now()).toBe(NOW);
  now = at("2026-05-19T23:59:59Z");
  expect(clock.now()).toBe(now);
  const vendor = await createTestVendor();
  clock.highWater.raise(verifyTdx(makeEvidence(vendor), { trustAnchors: new Set([vendor.rootDigest]), at: NOW }), true);
  // The collateral is of May 20.
  expect(() => clock.now()).toThrow(refusal("clock_before_vendor", "issueDate of the TCB info"));
  now = at("2026-05-20T00:00:00Z");
  expect(clock.now()).toBe(now);
  expect(() => clock.now({ notBefore: NOW })).toThrow(refusal("clock_before_manifest", "$.NotBefore"));
  expect(asked).toBe(1);
});
