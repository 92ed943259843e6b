import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sevGuestAttester, tsmSnpAttester } from "../attestation/collect/attester.ts";
import type { Network } from "../attestation/endorsements/fetch.ts";
import { collectTsmReport } from "../attestation/collect/configfs-tsm.ts";
import { type KernelInterfaces, openHardwareAttester } from "../attestation/collect/detect.ts";
import type { Attester, SnpEvidence } from "../attestation/evidence.ts";
import { identityOf } from "../attestation/identity.ts";
import { ownIdentity } from "../attestation/own-identity.ts";
import { policyHash } from "../attestation/policy-hash.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { checkReportData } from "../attestation/report-data.ts";
import { simulatedRoots } from "../attestation/snp/roots.ts";
import { tdxLaunch } from "../attestation/tdx/identity.ts";
import { parseTdxQuote } from "../attestation/tdx/quote.ts";
import { parseSnpReport } from "../attestation/snp/report.ts";
import { verifySnp } from "../attestation/snp/verify.ts";
import { TD_CONFIG_ID } from "./fake-kernel/tdx-guest.ts";
import { type FakeKernel, NO_FAKE_KERNEL, startFakeKernel } from "./fake-kernel/start.ts";

/** Collects evidence through the real kernel from a file system that behaves like the interfaces of a confidential VM. */

const NOW = new Date();
const hostData = Buffer.alloc(32, 0xab);
const reportData = Buffer.from(Array.from({ length: 64 }, (_, index) => index));

let dir: string;
let vendor: SimulatedVendor;
let kernel: FakeKernel & Pick<KernelInterfaces, "cocoApi">;
/** Nobody is there. */
const cocoApi: KernelInterfaces["cocoApi"] = { address: "127.84.2.1:1", through: (use) => use(undefined) };
/** How long was waited each time, in milliseconds. */
let waits: number[];
/** The addresses that were asked, and what they answer; by default there is no such service. */
let asked: string[];
let thim: (() => Response) | undefined;
const network: Network = {
  now: () => NOW,
  random: () => 0,
  sleep: async (ms) => void waits.push(ms),
  fetch: async (url) => {
    asked.push(url.href);
    if (thim === undefined) throw new TypeError("no such service");
    return thim();
  },
};

if (NO_FAKE_KERNEL !== undefined) test.skip(`collecting evidence from the kernel: ${NO_FAKE_KERNEL}`);

describe.runIf(NO_FAKE_KERNEL === undefined)("collecting evidence from the kernel", () => {
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "collect-"));
    vendor = await openOrCreateVendor(join(dir, "vendor"), NOW);
    await vendor.launch(join(dir, "vm"), { hostData });
    kernel = { ...(await startFakeKernel(join(dir, "vm"))), cocoApi };
  });

  afterAll(async () => {
    await kernel.stop();
    await rm(dir, { recursive: true });
  });

  beforeEach(async () => {
    waits = [];
    asked = [];
    thim = undefined;
    await kernel.set();
  });

  afterEach(async () => {
    expect(await readdir(kernel.tsmReportDir), "requests that were left behind").toEqual([]);
  });

  async function expectGood(attester: Attester, data = reportData): Promise<void> {
    const evidence = await attester.collect(data);
    if (evidence.kind !== "snp") throw new Error(`got ${evidence.kind}`);
    const verified = verifySnp(evidence, { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW });
    checkReportData(verified, data);
    expect(policyHash(verified)).toBe(hostData.toString("hex"));
  }

  const paths: [string, () => Attester<SnpEvidence>][] = [
    ["configfs-tsm", () => tsmSnpAttester(kernel.tsmReportDir, network)],
    ["sev-guest", () => sevGuestAttester(kernel.sevGuestDevice, network)],
  ];

  describe.each(paths)("by %s", (_, open) => {
    test("the evidence verifies, and carries the report data and the policy hash", async () => {
      await expectGood(open());
      expect(waits).toEqual([]);
    });

    test("certificates in DER do as well", async () => {
      await kernel.set({ certificates: "der" });
      await expectGood(open());
    });

    test("a host without certificates leaves them to the verifier", async () => {
      await kernel.set({ certificates: "none" });
      expect((await open().collect(reportData)).certificates).toEqual([]);
      expect(asked).toEqual(["http://169.254.169.254/metadata/THIM/amd/certification"]);
    });

    test("where the host gives none and Azure's service has them, they come from there", async () => {
      const { report, certificates } = await open().collect(reportData);
      const [vcekCert = "", ...chain] = certificates.map((der) => new X509Certificate(der).toString());
      const tcbm = parseSnpReport(report).reportedTcb.toString(16).padStart(16, "0");
      thim = () => Response.json({ vcekCert, tcbm, certificateChain: chain.join(""), cacheControl: "86400" });
      await kernel.set({ certificates: "none" });
      await expectGood(open());
      expect(asked).toHaveLength(1);
    });

    test("a malformed certificate table is refused", async () => {
      await kernel.set({ certificates: "malformed" });
      await expect(open().collect(reportData)).rejects.toMatchObject({ code: "malformed_certificate" });
    });

    test("many at once get each their own report", async () => {
      const [one, other] = [open(), open()];
      const requests = Array.from({ length: 8 }, (_unused, index) =>
        expectGood(index % 2 === 0 ? one : other, Buffer.alloc(64, index)),
      );
      await Promise.all(requests);
    });

    test("the program goes on while the kernel waits", async () => {
      await kernel.set({ hold: true });
      const held = kernel.holding();
      const good = expectGood(open());
      await held;
      // With the event loop stuck in the kernel, nobody would end the wait.
      await kernel.set();
      await good;
    });

    test("one that fails does not stand in the way of the next", async () => {
      const attester = open();
      await kernel.set({ firmwareError: 0x16 });
      await expect(attester.collect(reportData)).rejects.toThrow();
      await kernel.set();
      await expectGood(attester);
    });

    test("report data of another length is not padded", async () => {
      await expect(open().collect(Buffer.alloc(63))).rejects.toThrow(RangeError);
    });
  });

  describe("configfs-tsm", () => {
    const collect = () => collectTsmReport(kernel.tsmReportDir, reportData, network);

    test("a busy driver is asked again, each time later", async () => {
      await kernel.set({ busy: 3 });
      await expectGood(tsmSnpAttester(kernel.tsmReportDir, network));
      expect(waits).toEqual([25, 50, 100]);
    });

    test("a driver that stays busy is given up", async () => {
      await kernel.set({ busy: 1000 });
      await expect(collect()).rejects.toMatchObject({
        code: "tee_busy",
        where: expect.stringMatching(/\/report\/contrast-\d+-[0-9a-f]{16}\/outblob$/) as string,
        got: "EBUSY, resource busy or locked",
      });
      expect(waits).toHaveLength(7);
    });

    test("a report that somebody else came in between is not taken", async () => {
      await kernel.set({ races: 2 });
      await expectGood(tsmSnpAttester(kernel.tsmReportDir, network));
      expect(waits).toHaveLength(2);
    });

    test("somebody who comes in between each time is named", async () => {
      await kernel.set({ races: 1000 });
      await expect(collect()).rejects.toMatchObject({ code: "tee_busy", got: "2", want: "1" });
    });

    test("report data that the kernel never took is noticed", async () => {
      await kernel.set({ lostWrites: 1000 });
      await expect(collect()).rejects.toMatchObject({ code: "tee_unavailable", got: "EINVAL, invalid argument" });
    });

    test("an error of the driver names the file and what to do", async () => {
      await kernel.set({ firmwareError: 0x16 });
      await expect(collect()).rejects.toMatchObject({
        code: "tee_unavailable",
        where: expect.stringMatching(/outblob$/) as string,
        got: "EIO, i/o error",
        hint: expect.stringContaining("kernel's log") as string,
      });
    });

    test("what another TEE gives is handed on as it is", async () => {
      await kernel.set({ provider: "tdx_guest", certificates: "no file" });
      const { provider, outblob, auxblob } = await collect();
      expect([provider, outblob.readUInt16LE(), auxblob.length]).toEqual(["tdx_guest", 4, 0]);
    });
  });

  describe("sev-guest", () => {
    const collect = () => sevGuestAttester(kernel.sevGuestDevice, network).collect(reportData);

    test("a certificate buffer that is too small is made larger", async () => {
      await kernel.set({ tableSize: 20 * 1024, maxCertificateBuffer: 64 * 1024 });
      await expectGood(sevGuestAttester(kernel.sevGuestDevice, network));
      expect(waits).toEqual([]);
    });

    test("a table that the kernel has no room for is left to the verifier", async () => {
      await kernel.set({ tableSize: 20 * 1024 });
      expect(await collect()).toMatchObject({ kind: "snp", certificates: [] });
    });

    test("a table beyond all measure is refused", async () => {
      await kernel.set({ tableSize: 2 * 1024 * 1024, maxCertificateBuffer: 4 * 1024 * 1024 });
      await expect(collect()).rejects.toMatchObject({
        code: "firmware_error",
        got: "EIO, i/o error, firmware error 0x0, VMM error 1, certificate buffer of 2097152 bytes wanted",
      });
    });

    test("a driver that knows no certificates gives the report alone", async () => {
      await kernel.set({ extendedReports: false });
      expect(await collect()).toMatchObject({ kind: "snp", certificates: [] });
    });

    test("a host that limits the rate is asked again", async () => {
      await kernel.set({ rateLimited: 2 });
      await expectGood(sevGuestAttester(kernel.sevGuestDevice, network));
      expect(waits).toEqual([25, 50]);
    });

    test("a host that limits the rate for long is given up", async () => {
      await kernel.set({ rateLimited: 1000 });
      await expect(collect()).rejects.toMatchObject({
        code: "tee_busy",
        where: kernel.sevGuestDevice,
        got: expect.stringContaining("VMM error 2") as string,
      });
    });

    test("an error of the firmware is reported by its number", async () => {
      await kernel.set({ firmwareError: 0x27 });
      await expect(collect()).rejects.toMatchObject({
        code: "firmware_error",
        got: "EIO, i/o error, firmware error 0x27, VMM error 0",
      });
    });

    test("a response that says that there is no report is not taken for one", async () => {
      await kernel.set({ status: 0x16 });
      await expect(collect()).rejects.toMatchObject({ code: "firmware_error", got: "status 0x16, report of 0 bytes" });
    });

    test("a file that is not the device is refused", async () => {
      const device = join(dir, "vm/identity.json");
      await expect(sevGuestAttester(device, network).collect(reportData)).rejects.toMatchObject({
        code: "tee_unavailable",
        where: device,
        got: "ENOTTY, inappropriate ioctl for device",
      });
    });
  });

  describe("finding the TEE", () => {
    const missing = (name: string): string => join(dir, "no-such", name);

    test("auto takes configfs-tsm where there is one", async () => {
      const { tsmReportDir } = kernel;
      const interfaces = { tsmReportDir, sevGuestDevice: missing("sev-guest"), cocoApi };
      await expectGood(await openHardwareAttester("auto", interfaces, network));
    });

    test("auto takes the device where there is no configfs-tsm", async () => {
      const interfaces = { tsmReportDir: missing("report"), sevGuestDevice: kernel.sevGuestDevice, cocoApi };
      await expectGood(await openHardwareAttester("auto", interfaces, network));
    });

    test("auto takes the device where configfs-tsm has no driver behind it", async () => {
      await kernel.set({ provider: "" });
      await expectGood(await openHardwareAttester("auto", kernel, network));
    });

    test("snp does not take the driver of another TEE", async () => {
      await kernel.set({ provider: "tdx_guest" });
      const interfaces = { tsmReportDir: kernel.tsmReportDir, sevGuestDevice: missing("sev-guest"), cocoApi };
      await expect(openHardwareAttester("snp", interfaces, network)).rejects.toMatchObject({
        code: "tee_unavailable",
        where: "CONTRAST_TEE=snp",
        got: expect.stringContaining(`(1) ${kernel.tsmReportDir}: the provider is "tdx_guest"; (2)`) as string,
      });
    });

    test("tdx does not take SNP", async () => {
      await expect(openHardwareAttester("tdx", kernel, network)).rejects.toMatchObject({
        code: "tee_unavailable",
        got: `(1) ${kernel.tsmReportDir}: the provider is "sev_guest"`,
      });
    });

    test.each(["auto", "tdx"] as const)("%s takes the quotes of TDX", async (wanted) => {
      await kernel.set({ provider: "tdx_guest", certificates: "no file" });
      const evidence = await (await openHardwareAttester(wanted, kernel, network)).collect(reportData);
      if (evidence.kind !== "tdx") throw new Error(`got ${evidence.kind}`);
      expect(parseTdxQuote(evidence.quote).body.reportData).toEqual(reportData);
    });

    test("where nothing is found, all that was tried is said", async () => {
      const interfaces = { tsmReportDir: missing("report"), sevGuestDevice: missing("sev-guest"), cocoApi };
      await expect(openHardwareAttester("auto", interfaces, network)).rejects.toMatchObject({
        code: "tee_unavailable",
        got:
          `(1) ${missing("report")}: ENOENT, no such file or directory; it takes Linux 6.7 or later with ` +
          "CONFIG_TSM_REPORTS, and configfs mounted on /sys/kernel/config; " +
          `(2) ${missing("sev-guest")}: ENOENT, no such file or directory; load the kernel's sev-guest, or start ` +
          "this in a confidential VM; a container needs the device from its host; " +
          "(3) http://127.84.2.1:1/aa/evidence: ECONNREFUSED; the guest's kernel command line has to have " +
          "agent.guest_components_rest_api=attestation, which is measured",
      });
    });

    test("coco does not ask the kernel", async () => {
      await expect(openHardwareAttester("coco", kernel, network)).rejects.toMatchObject({
        code: "tee_unavailable",
        got: expect.stringMatching(/^\(1\) http:\/\/127\.84\.2\.1:1\/aa\/evidence: ECONNREFUSED; [^(]*$/) as string,
      });
    });
  });

  describe("what the VM itself is", () => {
    const identity = async (wanted: "snp" | "tdx", tdxGuestDevice = kernel.tdxGuestDevice) => {
      const attester = await openHardwareAttester(wanted, kernel, network);
      return ownIdentity({ attester, tdxGuestDevice, random: (length) => Buffer.alloc(length, 0x5a) });
    };

    test("SNP: what its reports say to others", async () => {
      const evidence = await (await openHardwareAttester("snp", kernel, network)).collect(reportData);
      if (evidence.kind !== "snp") throw new Error(`got ${evidence.kind}`);
      const verified = verifySnp(evidence, { trustAnchors: simulatedRoots([vendor.rootDigest]), at: NOW });
      expect(await identity("snp")).toEqual(identityOf(verified));
      expect((await identity("snp")).policyHash).toBe(hostData.toString("hex"));
    });

    test("TDX: the TDREPORT's word, whatever quote the host answers with", async () => {
      await kernel.set({ provider: "tdx_guest", certificates: "no file" });
      const evidence = await (await openHardwareAttester("tdx", kernel, network)).collect(reportData);
      if (evidence.kind !== "tdx") throw new Error(`got ${evidence.kind}`);
      const { body } = parseTdxQuote(evidence.quote);
      const own = await identity("tdx");
      expect(own).toMatchObject({ kind: "tdx", policyHash: TD_CONFIG_ID.toString("hex", 0, 32), exposed: false });
      expect(body.mrConfigId).not.toEqual(TD_CONFIG_ID);
      expect(own.measurement).not.toBe(tdxLaunch(body).measurement);
    });

    test("TDX: no device, another device, an error and a report for something else are refused", async () => {
      await kernel.set({ provider: "tdx_guest", certificates: "no file" });
      await expect(identity("tdx", join(dir, "no-such", "tdx_guest"))).rejects.toMatchObject({
        code: "tee_unavailable",
      });
      await expect(identity("tdx", kernel.sevGuestDevice)).rejects.toMatchObject({ code: "tee_unavailable" });
      await kernel.set({ provider: "tdx_guest", certificates: "no file", tdReport: "refused" });
      await expect(identity("tdx")).rejects.toMatchObject({ code: "tee_unavailable" });
      await kernel.set({ provider: "tdx_guest", certificates: "no file", tdReport: "of others" });
      await expect(identity("tdx")).rejects.toMatchObject({ code: "report_data_mismatch" });
    });
  });
});
