import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Clock } from "../../attestation/clock.ts";
import { NO_VENDORS } from "../../attestation/endorsements/test-vendors.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "../../attestation/simulated/attester.ts";
import { openTestVendor } from "../../attestation/simulated/test-vendor.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { verifyClaimant } from "../../manifest/appraise.ts";
import { parseCertificate } from "../../attestation/x509.ts";
import { toHex } from "../../bytes/encode.ts";
import { generationOf } from "../../manifest/generation-extensions.ts";
import { issueLeaf } from "../../pki/certificate.ts";
import { generateEcKey, spki } from "../../pki/keys.ts";
import { CodedError } from "../../runtime/errors.ts";
import { type Authority, createAuthority, issueChain } from "./authority.ts";
import { isAcceptedByOpenssl } from "./test-openssl.ts";

const HOUR = 3600 * 1000;
const DAY = 24 * HOUR;
const START = new Date("2026-06-01T12:00:00Z");
const later = (ms: number): Date => new Date(START.getTime() + ms);

const directory = mkdtempSync(join(tmpdir(), "authority-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

const rootKey = await generateEcKey("P-384");
const generation = { number: 3, manifest: "ab".repeat(32) };
const request = { rootKey, generation, certificateLifetimeMs: 365 * DAY };
const authority = createAuthority({ ...request, meshKey: await generateEcKey("P-256") }, START);
const hourly = createAuthority(
  { ...request, meshKey: await generateEcKey("P-256"), certificateLifetimeMs: HOUR },
  START,
);
const { publicKey } = await generateEcKey("P-256");
const leaf = { publicKey, names: [{ kind: "dns", value: "web" }], extensions: new Map() } as const;

const isAccepted = (chain: string, cas: string, at: Date): boolean => isAcceptedByOpenssl(directory, chain, cas, at);

function isValid(chain: string, at: Date, { rootCa, meshCa }: Authority = authority): boolean {
  return [rootCa, meshCa].every((ca) => isAccepted(chain, ca, at));
}

function certificatesOf(chain: string): [leaf: X509Certificate, intermediate: X509Certificate] {
  const [first, second, ...others] = chain.match(/-----BEGIN [^-]*-----[^-]*-----END [^-]*-----/g) ?? [];
  expect(others).toEqual([]);
  return [new X509Certificate(first ?? ""), new X509Certificate(second ?? "")];
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
  ["an hour later", HOUR],
  ["when the clock jumped 400 days ahead", 400 * DAY],
  ["a day before the CA ends", 3649 * DAY],
  ["four minutes before the CA was made, as clocks differ", -4 * 60 * 1000],
])("a chain that is issued %s is valid then", (_name, ms) => {
  for (const each of [authority, hourly]) {
    expect(isValid(issueChain(each, leaf, later(ms)), later(ms), each)).toBe(true);
  }
});

test.each([
  ["when the clock jumped 400 days back", -400 * DAY],
  ["when the CA has ended", 3651 * DAY],
])("nothing is issued %s, for it would be valid for nobody", (_name, ms) => {
  const refusal = codeOf(() => issueChain(authority, leaf, later(ms)));
  expect(refusal).toMatch(/^clock_out_of_range: .*got 20\d\d-.*want 2026-06-01T11:55:00.000Z to 2036-05-29/);
  expect(refusal).toContain("contrast set");
});

test("leaf and intermediate CA live for the same time: the lifetime, within that of the mesh CA", () => {
  for (const each of [authority, hourly]) {
    for (const ms of [-4 * 60 * 1000, 0, 400 * DAY, 100 * DAY, 3500 * DAY, 3650 * DAY]) {
      const [own, intermediate] = certificatesOf(issueChain(each, leaf, later(ms)));
      const dates = ({ validFromDate, validToDate }: X509Certificate) => [
        validFromDate.getTime(),
        validToDate.getTime(),
      ];
      const [begin = 0, end = 0] = dates(own);
      expect(dates(intermediate)).toEqual([begin, end]);
      // A little before it was asked for, and never before the CA.
      expect(begin).toBe(later(Math.max(ms, 0)).getTime() - 5 * 60 * 1000);
      expect(end).toBe(Math.min(begin + each.certificateLifetimeMs, each.validity.notAfter.getTime()));
    }
  }
});

test("an intermediate CA has the mesh CA's key and name, and the root signs it; it is made anew every minute", () => {
  const [mesh, root] = [new X509Certificate(authority.meshCa), new X509Certificate(authority.rootCa)];
  const issued = (...seconds: readonly number[]): X509Certificate[] =>
    seconds.map((second) => certificatesOf(issueChain(authority, leaf, later(DAY + second * 1000)))[1]);
  const [first, same, next, back] = issued(1, 59, 60, 2);
  for (const intermediate of [first, same, next, back]) {
    expect(intermediate && spki(intermediate.publicKey)).toEqual(spki(mesh.publicKey));
    expect(intermediate?.subject).toBe(mesh.subject);
    expect(intermediate?.checkIssued(root) && intermediate.verify(root.publicKey)).toBe(true);
  }
  expect(mesh.checkIssued(mesh) && mesh.verify(mesh.publicKey)).toBe(true);
  expect(same?.serialNumber).toBe(first?.serialNumber);
  // A clock that goes back gets what is valid then.
  expect(new Set([first, next, back].map((one) => one?.serialNumber)).size).toBe(3);
  expect(next?.validFromDate.getTime()).toBe((first?.validFromDate.getTime() ?? 0) + 60_000);
  expect(back?.validFromDate).toEqual(first?.validFromDate);
});

test("the intermediate CA of one generation is never that of another, in the same minute", async () => {
  const other = createAuthority({ ...request, meshKey: await generateEcKey("P-256") }, START);
  const keys = [authority, other, authority].map((each) => {
    const [, intermediate] = certificatesOf(issueChain(each, leaf, later(1000)));
    expect(spki(intermediate.publicKey)).toEqual(spki(each.meshKey.publicKey));
    return toHex(spki(intermediate.publicKey));
  });
  expect(keys[0]).toBe(keys[2]);
  expect(keys[0]).not.toBe(keys[1]);
});

test("a chain that was issued goes on to be valid when later ones are issued, as long as it lives", () => {
  const first = issueChain(hourly, leaf, START);
  const second = issueChain(hourly, leaf, later(40 * 60 * 1000));
  expect(isValid(first, later(50 * 60 * 1000), hourly)).toBe(true);
  expect(isValid(first, later(56 * 60 * 1000), hourly)).toBe(false);
  expect(isValid(second, later(56 * 60 * 1000), hourly)).toBe(true);
});

test("an old generation ends for who trusts the root: its leaves, and what a thief of its mesh key signs", async () => {
  const end = later(10 * DAY);
  const last = issueChain(hourly, leaf, end);
  const next = createAuthority({ ...request, meshKey: await generateEcKey("P-256") }, end);
  // Under the root of now, which is the same key: within the hour it is accepted, and then by nobody any more.
  expect(isAccepted(last, next.rootCa, end)).toBe(true);
  expect(isAccepted(last, next.meshCa, end)).toBe(false);
  expect(isAccepted(last, next.rootCa, new Date(next.validity.notBefore.getTime() + HOUR + 1000))).toBe(false);
  // The thief has the key and every intermediate CA there ever was, and gives himself ten years.
  const [, intermediate] = certificatesOf(last);
  const forged = issueLeaf({
    notBefore: START,
    notAfter: later(3650 * DAY),
    subject: "web",
    publicKey,
    issuer: { name: "Contrast mesh CA", key: hourly.meshKey },
    names: leaf.names,
  });
  const chain = forged + intermediate.toString();
  expect(isAccepted(chain, next.rootCa, end)).toBe(true);
  expect(isAccepted(chain, next.rootCa, later(10 * DAY + HOUR))).toBe(false);
  expect(isAccepted(chain, next.meshCa, end)).toBe(false);
});

test("every CA below the root says which generation it is of, and a leaf can't", () => {
  const [own, intermediate] = certificatesOf(issueChain(authority, leaf, START));
  for (const { raw } of [intermediate, new X509Certificate(authority.meshCa)]) {
    expect(generationOf(raw)).toEqual(generation);
    for (const oid of ["1.3.9901.2.3.1", "1.3.9901.2.3.2"]) {
      expect(parseCertificate(raw).extensions.get(oid)?.critical).toBe(false);
    }
  }
  expect(generationOf(own.raw)).toBeUndefined();
  expect(generationOf(new X509Certificate(authority.rootCa).raw)).toBeUndefined();
  const text = execFileSync("openssl", ["x509", "-noout", "-text"], {
    input: intermediate.toString(),
    encoding: "utf8",
  });
  expect(text).toMatch(/1\.3\.9901\.2\.3\.1: *\n *\.\.?3\n/);
});

test("a chain that no proxy would take is not issued", () => {
  const names = Array.from({ length: 50 }, (_, index) => {
    return { kind: "uri", value: `spiffe://example.org/${index}/${"x".repeat(150)}` } as const;
  });
  expect(codeOf(() => issueChain(authority, { ...leaf, names }, START))).toMatch(
    /^certificate_too_long: .*got \d{4} bytes, want at most 9216 bytes/,
  );
});

test("evidence is judged by the clock of the moment: a jump out of its certificates' time is refused and named", async () => {
  const vendor = await openTestVendor(join(directory, "vendor"), START);
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
  const appraise = (at: Date) => {
    const clock = new Clock({ now: () => at, built: () => undefined });
    return verifyClaimant({ evidence, reportData }, manifest, { allowInsecure: true, clock, vendors: NO_VENDORS });
  };
  await expect(appraise(START)).resolves.toBeDefined();
  const { validTo } = new X509Certificate(evidence.certificates[0] ?? "");
  const end = new Date(validTo);
  await expect(appraise(later(-400 * DAY))).rejects.toMatchObject({ code: "certificate_expired" });
  await expect(appraise(new Date(end.getTime() + DAY))).rejects.toMatchObject({ code: "certificate_expired" });
  // Within them, 400 days are no reason to refuse.
  expect(end.getTime()).toBeGreaterThan(later(400 * DAY).getTime());
  await expect(appraise(later(400 * DAY))).resolves.toBeDefined();
});
