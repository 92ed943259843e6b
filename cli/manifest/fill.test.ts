import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ChipVendors } from "../../attestation/endorsements/vendors.ts";
import { encodeSnpReport, parseSnpReport } from "../../attestation/snp/report.ts";
import * as amd from "../../attestation/snp/test-vendor.ts";
import { encodeTcb } from "../../attestation/snp/tcb.ts";
import * as intel from "../../attestation/tdx/test-vendor.ts";
import { toHex } from "../../bytes/encode.ts";
import { type Folder, makeContext, makeFolder } from "../evidence/test-command.ts";
import { fillManifest, type FillOptions } from "./fill.ts";

const NOW = amd.NOW;
let folder: Folder;
let amdVendor: amd.TestVendor;
let intelVendor: intel.TestVendor;

beforeAll(async () => {
  folder = makeFolder();
  [amdVendor, intelVendor] = await Promise.all([amd.createTestVendor(), intel.createTestVendor()]);
});

afterAll(() => folder.remove());

const OPEN_TCB = { BootloaderVersion: null, TEEVersion: null, SNPVersion: null, MicrocodeVersion: null };
const OPEN = { ProductName: "", TrustedMeasurement: "aa".repeat(48), MinimumTCB: OPEN_TCB };
const OPEN_TDX = {
  MrTd: "d0".repeat(48),
  MrSeam: "",
  Rtmrs: ["", "d1".repeat(48), "d2".repeat(48), "00".repeat(48)],
  Xfam: "",
  MinimumTeeTcbSvn: "",
};

function draft(ReferenceValues: object): string {
  const document = {
    Policies: { ["40".repeat(32)]: { SANs: ["web"] } },
    ReferenceValues,
    WorkloadOwnerKeyDigests: [],
    SeedshareOwnerPubKeys: [],
    CertificateLifetime: "720h",
  };
  return folder.put("manifest.json", JSON.stringify(document));
}

// oxlint-disable-next-line typescript/no-explicit-any -- read from a file
type Loose = any;

const read = (path: string): Loose => JSON.parse(readFileSync(path, "utf8"));

interface Outcome {
  readonly sets: Loose;
  readonly result: Loose;
  readonly warnings: readonly string[];
}

async function fill(
  ReferenceValues: object,
  report: Uint8Array,
  options: Partial<FillOptions> = { unverified: true },
  { at = NOW, vendors }: { at?: Date; vendors?: ChipVendors } = {},
): Promise<Outcome> {
  const manifest = draft(ReferenceValues);
  const { context, output } = makeContext(at, "json");
  const warnings: string[] = [];
  const own = { ...context, warn: (line: string) => void warnings.push(line), ...(vendors && { vendors }) };
  await fillManifest(own, { fromReport: folder.put("report.bin", report), manifest, ...options });
  const sets = read(manifest).ReferenceValues;
  return { sets, result: JSON.parse(output.join("")), warnings };
}

const report = (scenario: amd.Scenario = {}): Uint8Array => amd.makeEvidence(amdVendor, scenario).report;

test("the versions of an SNP report become the lowest to accept", async () => {
  const tcb = { fmc: 0, bootloader: 4, tee: 1, snp: 24, microcode: 219 };
  const value = encodeTcb(tcb, "Genoa");
  const genoa = report({
    product: "Genoa",
    report: { reportedTcb: value, committedTcb: value, launchTcb: value, currentTcb: value },
  });
  const { sets, result, warnings } = await fill({ snp: [OPEN, { ...OPEN, ProductName: "Milan" }] }, genoa);
  expect(sets.snp).toEqual([
    {
      ...OPEN,
      ProductName: "Genoa",
      MinimumTCB: { BootloaderVersion: 4, TEEVersion: 1, SNPVersion: 24, MicrocodeVersion: 219 },
    },
    { ...OPEN, ProductName: "Milan" },
  ]);
  expect(result.filled).toHaveLength(5);
  expect(result.verified).toBe(false);
  expect(warnings).toEqual([expect.stringContaining("nothing was verified")]);
  expect(result["still open"]).toHaveLength(4);
});

test("Turin has one version more", async () => {
  const { sets } = await fill({ snp: [OPEN] }, report({ product: "Turin" }));
  expect(sets.snp[0].MinimumTCB).toEqual({
    BootloaderVersion: amd.TURIN_TCB.bootloader,
    TEEVersion: amd.TURIN_TCB.tee,
    SNPVersion: amd.TURIN_TCB.snp,
    MicrocodeVersion: amd.TURIN_TCB.microcode,
    FMCVersion: amd.TURIN_TCB.fmc,
  });
});

test("what stands there stays, unless it is to be replaced", async () => {
  const own = { ...OPEN, ProductName: "Milan", MinimumTCB: { ...OPEN_TCB, SNPVersion: 200 } };
  const kept = await fill({ snp: [own] }, report());
  expect(kept.sets.snp[0].MinimumTCB.SNPVersion).toBe(200);
  expect(kept.result["kept, for --replace was not given"]).toEqual([
    expect.stringMatching(/^\$\.ReferenceValues\.snp\[0\]\.MinimumTCB\.SNPVersion: 200, the report says \d+$/),
  ]);
  const replaced = await fill({ snp: [own] }, report(), { unverified: true, replace: true });
  expect(replaced.sets.snp[0].MinimumTCB.SNPVersion).not.toBe(200);
});

test("a machine that no set is for is refused, and the manifest stays", async () => {
  const milan = { ...OPEN, ProductName: "Milan" };
  for (const sets of [{ snp: [milan] }, { tdx: [OPEN_TDX] }]) {
    await expect(fill(sets, report({ product: "Genoa" }))).rejects.toMatchObject({ code: "usage" });
    expect(read(draft(sets)).ReferenceValues).toEqual(sets);
  }
});

test("a guest of before an update of the firmware is warned of: it would be refused", async () => {
  const fields = parseSnpReport(report());
  const older = encodeSnpReport({ ...fields, launchTcb: 0n });
  const { warnings } = await fill({ snp: [OPEN] }, older);
  expect(warnings[0]).toContain("LAUNCH_TCB of this guest is lower");
});

test("a guest that the host may debug says nothing", async () => {
  const fields = parseSnpReport(report());
  const debug = encodeSnpReport({ ...fields, policy: fields.policy | (1n << 19n) });
  await expect(fill({ snp: [OPEN] }, debug)).rejects.toMatchObject({ code: "debug_allowed" });
});

test("a report of another root than the vendor's is refused, and one that nobody vouches for", async () => {
  const { report: bytes, certificates } = amd.makeEvidence(amdVendor);
  const [vcek = Buffer.alloc(0), ...others] = certificates;
  const chain = folder.put("chain.pem", intel.pem(...others));
  const offline = { vcek: folder.put("vcek.der", vcek), certChain: chain };
  await expect(fill({ snp: [OPEN] }, bytes, offline)).rejects.toMatchObject({ code: "untrusted_root" });
  const { context } = makeContext(NOW, "json");
  const vendors: ChipVendors = {
    ...context.vendors,
    withVcek: async (evidence) => ({ ...evidence, certificates }),
    snpCrl: () => Promise.reject(new Error("not reached")),
  };
  await expect(fill({ snp: [OPEN] }, bytes, {}, { vendors })).rejects.toMatchObject({ code: "untrusted_root" });
  const both = fill({ snp: [OPEN] }, bytes, { ...offline, unverified: true });
  await expect(both).rejects.toMatchObject({ code: "usage" });
});

test("of a quote the TDX module and the features of the CPU are taken, and RTMR0 where it is asked for", async () => {
  const { quote } = intel.makeEvidence(intelVendor);
  const { sets, result } = await fill({ tdx: [OPEN_TDX] }, quote);
  const body = intel.bodyOf(4);
  const machine = { MrSeam: toHex(body.mrSeam), Xfam: toHex(body.xfam), MinimumTeeTcbSvn: toHex(body.teeTcbSvn) };
  expect(sets.tdx).toEqual([{ ...OPEN_TDX, ...machine }]);
  expect(result["still open"]).toEqual([expect.stringContaining("$.ReferenceValues.tdx[0].Rtmrs[0]")]);
  const asked = await fill({ tdx: [OPEN_TDX] }, quote, { unverified: true, rtmr0: true });
  expect(asked.sets.tdx[0].Rtmrs).toEqual([...body.rtmrs.slice(0, 1).map(toHex), ...OPEN_TDX.Rtmrs.slice(1)]);
  const snp = fill({ snp: [OPEN] }, report(), { unverified: true, rtmr0: true });
  await expect(snp).rejects.toMatchObject({ code: "malformed_report" });
});

test.each(["", "{}", "x".repeat(1184)])("what is no report is refused (%#)", async (text) => {
  await expect(fill({ snp: [OPEN] }, Buffer.from(text))).rejects.toMatchObject({ name: "EvidenceError" });
});

const VECTORS = join(import.meta.dirname, "../../../shared/vectors");

describe.skipIf(!existsSync(VECTORS))("recorded reports", () => {
  const vector = (...path: readonly string[]): string => join(VECTORS, ...path);

  test("recorded: a report of a Genoa is verified with its certificate, and fills the manifest", async () => {
    const bytes = readFileSync(vector("snp-genoa-v3-aci", "report.bin"));
    const offline = {
      vcek: vector("snp-genoa-v3-aci", "vcek.der"),
      certChain: vector("roots/amd/Genoa_vcek_cert_chain.pem"),
    };
    const at = new Date("2026-03-01T00:00:00Z");
    const { sets, result } = await fill({ snp: [OPEN] }, bytes, offline, { at });
    expect(result).toMatchObject({ result: "filled", verified: true });
    expect(sets.snp[0].ProductName).toBe("Genoa");
    expect(sets.snp[0].MinimumTCB.SNPVersion).toBeGreaterThan(0);
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(0x180) ^ 1, 0x180);
    await expect(fill({ snp: [OPEN] }, flipped, offline, { at })).rejects.toMatchObject({ code: "report_signature" });
  });

  test("recorded: a quote is verified with Intel's collateral, and fills the manifest", async () => {
    const index = read(vector("index.json"));
    const { files } = index.vectors.find(({ id }: { id: string }) => id === "tdx-v4-dcapqvl");
    const path = (name: string): string => vector(files[name].file);
    const offline = {
      tcbInfo: path("tcb_info"),
      tcbSigningChain: path("tcb_signing_chain"),
      qeIdentity: path("qe_identity"),
      pckCrl: path("pck_crl"),
      rootCaCrl: path("root_ca_crl"),
    };
    const quote = readFileSync(path("quote"));
    const at = new Date("2025-06-20T12:00:00Z");
    const { result, sets } = await fill({ tdx: [OPEN_TDX] }, quote, offline, { at });
    expect(result.verified).toBe(true);
    expect(sets.tdx[0].MrSeam).toMatch(/^[0-9a-f]{96}$/);
  });
});

test("the file is replaced as a whole, and has the time at which it was changed", async () => {
  const { result } = await fill({ snp: [OPEN] }, report());
  expect(read(String(result.manifest)).NotBefore).toBe("2026-06-01T00:00:00Z");
});
