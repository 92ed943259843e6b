import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isEqual } from "../../bytes/encode.ts";
import { EvidenceError } from "../error.ts";
import type { Attester, SnpEvidence } from "../evidence.ts";
import { EvidenceCache } from "../evidence-cache.ts";
import { policyHash } from "../policy-hash.ts";
import { checkReportData } from "../report-data.ts";
import { AMD_ROOTS, simulatedRoots } from "../snp/roots.ts";
import { validateSimulated } from "../snp/validate.ts";
import { type SnpVerifyOptions, verifySnp } from "../snp/verify.ts";
import { everyBit, expectRefused, flipped } from "../test-refusal.ts";
import { openSimulatedAttester, SIMULATED_MEASUREMENT } from "./attester.ts";
import { openTestVendor } from "./test-vendor.ts";
import type { SimulatedVendor } from "./vendor.ts";

const NOW = new Date("2026-06-01T12:00:00Z");
const hostData = Buffer.alloc(32, 0xab);
const reportData = Buffer.alloc(64, 0xcd);

let dir: string;
let vendor: SimulatedVendor;
let attester: Attester<SnpEvidence>;
let evidence: SnpEvidence;
let options: SnpVerifyOptions;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "simulated-"));
  vendor = await openTestVendor(join(dir, "vendor"), NOW);
  await vendor.launch(join(dir, "vm"), { hostData });
  attester = await openSimulatedAttester(join(dir, "vm"));
  evidence = await attester.collect(reportData);
  options = { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW };
});

afterAll(() => rm(dir, { recursive: true }));

describe("evidence of the software TEE", () => {
  test("takes the same way as the hardware's, under its own root only", () => {
    const verified = verifySnp(evidence, options);
    expect(verified.root).toEqual({ spkiDigest: vendor.rootDigest, simulated: true });
    expect(policyHash(verified)).toBe(hostData.toString("hex"));
    expect(() => checkReportData(verified, reportData)).not.toThrow();
    const image = { kind: "measured", measurement: Buffer.from(SIMULATED_MEASUREMENT, "hex") } as const;
    expect(() => validateSimulated(verified, { rootDigest: vendor.rootDigest, image })).not.toThrow();
    expect(() => verifySnp(evidence, { ...options, trustAnchors: AMD_ROOTS })).toThrow(
      expect.objectContaining({ code: "untrusted_root" }),
    );
  });

  test("says that it proves nothing", () => {
    expect(attester.insecure).toContain("proves nothing");
  });

  test("is a report of version 3 of a Milan", () => {
    const { report, product } = verifySnp(evidence, options);
    expect([report.version, product, report.policy]).toEqual([3, "Milan", 0x30000n]);
  });

  test("is made only for report data of 64 bytes", async () => {
    await expect(attester.collect(Buffer.alloc(63))).rejects.toThrow(RangeError);
  });
});

describe("any change of the evidence is refused", () => {
  /** What is not changed is not verified anew each time; that a cache changes no outcome is tested with it. */
  const remembering = (): SnpVerifyOptions => {
    const cached = { ...options, cache: new EvidenceCache() };
    verifySnp(evidence, cached);
    return cached;
  };

  test("every single bit of the report", () => {
    const cached = remembering();
    expectRefused(evidence.report, everyBit(evidence.report), (report) => verifySnp({ ...evidence, report }, cached));
  });

  test("any single bit of a certificate", () => {
    const cached = remembering();
    const [first = Buffer.alloc(0), ...others] = evidence.certificates;
    const sizes = [first, ...others].map((certificate) => certificate.length * 8);
    const place = fc
      .integer({ min: 0, max: sizes.length - 1 })
      .chain((index) => fc.tuple(fc.constant(index), fc.integer({ min: 0, max: (sizes[index] ?? 0) - 1 })));
    fc.assert(
      fc.property(place, ([changed, bit]) => {
        const certificates = evidence.certificates.map((certificate, index) =>
          index === changed ? flipped(certificate, bit) : certificate,
        );
        expect(() => verifySnp({ ...evidence, certificates }, cached)).toThrow(EvidenceError);
      }),
      { numRuns: 1000 },
    );
  });

  test("arbitrary bytes in place of a report or a certificate", () => {
    const junk = fc.uint8Array({ maxLength: 2000, size: "max" }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(junk, (bytes) => {
        expect(() => verifySnp({ ...evidence, report: bytes }, options)).toThrow(EvidenceError);
        expect(() => verifySnp({ ...evidence, certificates: [bytes] }, options)).toThrow(EvidenceError);
      }),
    );
  });
});

describe("the software vendor", () => {
  test("is the same when it is opened again", async () => {
    const again = await openTestVendor(join(dir, "vendor"), new Date("2027-01-01T00:00:00Z"));
    expect(again.rootDigest).toBe(vendor.rootDigest);
  });

  test("keeps its CA key for itself and throws the root's away", async () => {
    expect((await readdir(join(dir, "vendor"))).toSorted()).toEqual(["ark.pem", "ask-key.pem", "ask.pem"]);
    expect((await stat(join(dir, "vendor/ask-key.pem"))).mode & 0o777).toBe(0o600);
    expect((await stat(join(dir, "vm/vcek-key.pem"))).mode & 0o777).toBe(0o600);
  });

  test("makes certificates that are valid for ten years and that OpenSSL reads, too", async () => {
    const ask = new X509Certificate(await readFile(join(dir, "vendor/ask.pem")));
    const ark = new X509Certificate(await readFile(join(dir, "vendor/ark.pem")));
    const vcek = new X509Certificate(await readFile(join(dir, "vm/vcek.pem")));
    expect([
      vcek.checkIssued(ask),
      ask.checkIssued(ark),
      vcek.verify(ask.publicKey),
      ask.verify(ark.publicKey),
    ]).toEqual([true, true, true, true]);
    expect([ask.validFromDate, ask.validToDate]).toEqual([NOW, new Date("2036-06-01T12:00:00Z")]);
    expect([vcek.serialNumber, ark.ca, ask.ca, vcek.ca]).toEqual(["0", true, true, false]);
  });

  test("launches every VM on a chip of its own, and one VM always on the same", async () => {
    const collect = async (vm: string): Promise<ReturnType<typeof verifySnp>["report"]> => {
      await vendor.launch(join(dir, vm), { hostData: Buffer.alloc(32, 1) });
      const made = await (await openSimulatedAttester(join(dir, vm))).collect(reportData);
      return verifySnp(made, options).report;
    };
    const [first, again, second] = [await collect("vm-1"), await collect("vm-1"), await collect("vm-2")];
    expect(isEqual(again.chipId, first.chipId)).toBe(true);
    expect(isEqual(again.reportId, first.reportId)).toBe(false);
    expect(isEqual(second.chipId, first.chipId)).toBe(false);
  });

  test("a VM that is launched again has the new policy", async () => {
    const vm = join(dir, "vm-3");
    await vendor.launch(vm, { hostData });
    const running = await openSimulatedAttester(vm);
    await vendor.launch(vm, { hostData: Buffer.alloc(32, 2) });
    const restarted = await openSimulatedAttester(vm);
    expect(policyHash(verifySnp(await restarted.collect(reportData), options))).toBe("02".repeat(32));
    expect(policyHash(verifySnp(await running.collect(reportData), options))).toBe(hostData.toString("hex"));
  });

  test("a VM reports its ID block, and none once it is launched without", async () => {
    const vm = join(dir, "vm-signed");
    const idBlock = {
      idKeyDigest: Buffer.alloc(48, 0x1d),
      authorKeyDigest: Buffer.alloc(48, 0xa0),
      familyId: Buffer.alloc(16, 0xfa),
      imageId: Buffer.alloc(16, 0x1a),
      guestSvn: 0xffff_ffff,
    };
    const collect = async (): Promise<ReturnType<typeof verifySnp>["report"]> =>
      verifySnp(await (await openSimulatedAttester(vm)).collect(reportData), options).report;
    await vendor.launch(vm, { hostData, idBlock });
    expect(await collect()).toMatchObject({ ...idBlock, authorKeyEnabled: true });
    const unsigned = { ...idBlock, authorKeyDigest: Buffer.alloc(48) };
    await vendor.launch(vm, { hostData, idBlock: unsigned });
    expect(await collect()).toMatchObject({ ...unsigned, authorKeyEnabled: false });
    await vendor.launch(vm, { hostData });
    const zeros = { idKeyDigest: Buffer.alloc(48), familyId: Buffer.alloc(16), imageId: Buffer.alloc(16), guestSvn: 0 };
    expect(await collect()).toMatchObject({ ...zeros, authorKeyDigest: Buffer.alloc(48), authorKeyEnabled: false });
  });

  test("an ID block of other lengths is refused", async () => {
    const zeros = { idKeyDigest: Buffer.alloc(48), authorKeyDigest: Buffer.alloc(48), familyId: Buffer.alloc(16) };
    const idBlock = { ...zeros, imageId: Buffer.alloc(15), guestSvn: 0 };
    await expect(vendor.launch(join(dir, "vm-6"), { hostData, idBlock })).rejects.toThrow(RangeError);
  });

  test("a VM of another vendor gets a new chip", async () => {
    const vm = join(dir, "vm-4");
    const other = await openTestVendor(join(dir, "other"), NOW, "other");
    await other.launch(vm, { hostData });
    await vendor.launch(vm, { hostData });
    const made = await (await openSimulatedAttester(vm)).collect(reportData);
    expect(() => verifySnp(made, options)).not.toThrow();
  });

  test("a policy hash of another length is refused", async () => {
    await expect(vendor.launch(join(dir, "vm-5"), { hostData: Buffer.alloc(31) })).rejects.toThrow(RangeError);
  });
});

describe("a directory that is not a VM's", () => {
  test.each([null, {}, 5])("with the ID block %o is refused", async (IDBlock) => {
    const vm = join(dir, "odd-id-block");
    await vendor.launch(vm, { hostData });
    const identity = JSON.parse(await readFile(join(vm, "identity.json"), "utf8")) as object;
    await writeFile(join(vm, "identity.json"), JSON.stringify({ ...identity, IDBlock }));
    await expect(openSimulatedAttester(vm)).rejects.toThrow(expect.objectContaining({ code: "tee_unavailable" }));
    await rm(vm, { recursive: true });
  });

  const files = ["identity.json", "vcek-key.pem", "vcek.pem", "ask.pem", "ark.pem"];

  test.each(files)("without %s is refused by name", async (name) => {
    const vm = join(dir, `without-${name}`);
    await vendor.launch(vm, { hostData });
    await rm(join(vm, name));
    await expect(openSimulatedAttester(vm)).rejects.toThrow(
      expect.objectContaining({
        code: "tee_unavailable",
        where: join(vm, name),
        got: "no such file",
        hint: expect.stringContaining("CONTRAST_SIMULATED_TEE_DIR") as string,
      }),
    );
  });

  test.each(files)("with a broken %s is refused by name, and the content is not shown", async (name) => {
    const vm = join(dir, `broken-${name}`);
    await vendor.launch(vm, { hostData });
    await writeFile(join(vm, name), "-----BEGIN PRIVATE KEY-----\nsecret\n");
    const error: unknown = await openSimulatedAttester(vm).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "tee_unavailable", where: join(vm, name) });
    expect((error as EvidenceError).describe()).not.toContain("secret");
  });

  test.each(["{}", "[]", "null", '{"HostData": 5}', '{"HostData": "00"}'])(
    "with the identity %s is refused",
    async (json) => {
      const vm = join(dir, "odd-identity");
      await vendor.launch(vm, { hostData });
      await writeFile(join(vm, "identity.json"), json);
      await expect(openSimulatedAttester(vm)).rejects.toThrow(expect.objectContaining({ code: "tee_unavailable" }));
      await rm(vm, { recursive: true });
    },
  );
});
