import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor } from "../attestation/simulated/vendor.ts";
import { parseManifest } from "../manifest/manifest.ts";
import { verifyClaimant } from "../manifest/appraise.ts";
import { generateEcKey } from "../pki/keys.ts";
import { CodedError } from "../runtime/errors.ts";
import { createAuthority, issueChain } from "./authority.ts";

const DAY = 24 * 3600 * 1000;
const START = new Date("2026-06-01T12:00:00Z");
const later = (ms: number): Date => new Date(START.getTime() + ms);

const directory = mkdtempSync(join(tmpdir(), "authority-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

const authority = await createAuthority(await generateEcKey("P-384"), START);
const { publicKey } = await generateEcKey("P-256");
const leaf = { publicKey, names: [{ kind: "dns", value: "web" }], extensions: new Map() } as const;

/** Whether openssl accepts a chain to both of its roots, by a clock of ours. */
function isValid(chain: string, at: Date): boolean {
  const [chainFile, caFile] = [join(directory, "chain.pem"), join(directory, "ca.pem")];
  writeFileSync(chainFile, chain);
  return [authority.rootCa, authority.meshCa].every((ca) => {
    writeFileSync(caFile, ca);
    const args = ["verify", "-attime", `${at.getTime() / 1000}`, "-CAfile", caFile, "-untrusted", chainFile, chainFile];
    try {
      execFileSync("openssl", args, { stdio: "pipe" });
      return true;
    } catch {
      return false;
    }
  });
}

function codeOf(action: () => unknown): string {
  try {
    action();
    return "no error";
  } catch (error) {
    return error instanceof CodedError ? error.describe() : String(error);
  }
}

test.each([
  ["at once", 0],
  ["an hour later", DAY / 24],
  ["when the clock jumped 400 days ahead", 400 * DAY],
  ["a day before the CA ends", 3649 * DAY],
  ["four minutes before the CA was made, as clocks differ", -4 * 60 * 1000],
])("a chain that is issued %s is valid then", (_name, ms) => {
  expect(isValid(issueChain(authority, leaf, later(ms)), later(ms))).toBe(true);
});

test.each([
  ["when the clock jumped 400 days back", -400 * DAY],
  ["when the CA has ended", 3651 * DAY],
])("nothing is issued %s, for it would be valid for nobody", (_name, ms) => {
  const refusal = codeOf(() => issueChain(authority, leaf, later(ms)));
  expect(refusal).toMatch(/^clock_out_of_range: .*got 20\d\d-.*want 2026-06-01T11:55:00.000Z to 2036-05-29/);
  expect(refusal).toContain("contrast set");
});

test("a leaf is valid for no time at which its CA is not", () => {
  for (const ms of [-4 * 60 * 1000, 0, 400 * DAY, 3500 * DAY, 3650 * DAY]) {
    const [certificate, ca] = [issueChain(authority, leaf, later(ms)), authority.intermediateCa].map(
      (pem) => new X509Certificate(pem),
    );
    expect(certificate?.validFromDate.getTime()).toBeGreaterThanOrEqual(ca?.validFromDate.getTime() ?? NaN);
    expect(certificate?.validToDate.getTime()).toBeLessThanOrEqual(ca?.validToDate.getTime() ?? NaN);
  }
});

test("evidence is judged by the clock of the moment: a jump out of its certificates' time is refused and named", async () => {
  const vendor = await openOrCreateVendor(join(directory, "vendor"), START);
  const hostData = Buffer.alloc(32, 1);
  await vendor.launch(join(directory, "vm"), { hostData });
  const reportData = Buffer.alloc(64, 2);
  const evidence = await (await openSimulatedAttester(join(directory, "vm"))).collect(reportData);
  const manifest = parseManifest(
    Buffer.from(
      JSON.stringify({
        Policies: { [hostData.toString("hex")]: { SANs: ["web"], WorkloadSecretID: "", Role: "coordinator" } },
        ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
        WorkloadOwnerKeyDigests: [],
        SeedshareOwnerPubKeys: [],
      }),
    ),
  );
  const appraise = (at: Date) =>
    verifyClaimant({ evidence, reportData }, manifest, { allowInsecure: true, at, complete: async (whole) => whole });
  await expect(appraise(START)).resolves.toBeDefined();
  const { validTo } = new X509Certificate(evidence.certificates[0] ?? "");
  const end = new Date(validTo);
  await expect(appraise(later(-400 * DAY))).rejects.toMatchObject({ code: "certificate_expired" });
  await expect(appraise(new Date(end.getTime() + DAY))).rejects.toMatchObject({ code: "certificate_expired" });
  // Within them, 400 days are no reason to refuse.
  expect(end.getTime()).toBeGreaterThan(later(400 * DAY).getTime());
  await expect(appraise(later(400 * DAY))).resolves.toBeDefined();
});
