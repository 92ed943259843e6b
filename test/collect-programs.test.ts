import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { vcekUrl } from "../attestation/endorsements/amd.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { MACHINE_TCB } from "../attestation/simulated/machine.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { parseSnpReport } from "../attestation/snp/report.ts";
import { type FakeKernel, NO_FAKE_KERNEL, startFakeKernel } from "./fake-kernel/start.ts";
import { type Program, startProgram } from "./programs.ts";
import { setManifest, webManifest } from "./web-deployment.ts";

/** The programs, in what looks like a VM with SEV-SNP to them. */

const ADDRESS = "127.90.0.1";
const policies = [Buffer.from("the Coordinator's policy"), Buffer.from("web's policy")] as const;
const [coordinatorHash, webHash] = policies.map((policy) => createHash("sha256").update(policy).digest()) as [
  Buffer,
  Buffer,
];

let dir: string;
let vendor: SimulatedVendor;
let kernel: FakeKernel;
const running: Program[] = [];

if (NO_FAKE_KERNEL !== undefined) test.skip(`programs in a VM with SEV-SNP: ${NO_FAKE_KERNEL}`);

describe.runIf(NO_FAKE_KERNEL === undefined)("in a VM with SEV-SNP", () => {
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "collect-programs-"));
    vendor = await openOrCreateVendor(join(dir, "vendor"), new Date());
    await vendor.launch(join(dir, "vm"), { hostData: webHash });
    kernel = await startFakeKernel(join(dir, "vm"));
  });

  afterEach(async () => {
    await kernel.set();
    for (const program of running.splice(0)) {
      program.child.kill("SIGKILL");
      await program.exited;
    }
  });

  afterAll(async () => {
    await kernel.stop();
    await rm(dir, { recursive: true });
  });

  function start(program: string, environment: Readonly<Record<string, string>>): Program {
    const started = startProgram([program], { CONTRAST_LOG_FORMAT: "json", ...environment });
    running.push(started);
    return started;
  }

  function startInitializer(environment: Readonly<Record<string, string>>): Program {
    return start("initializer/main.ts", { CONTRAST_TLS_CONFIG_DIR: join(dir, "volume"), ...environment });
  }

  const setWebManifest = async (): Promise<void> =>
    setManifest(ADDRESS, webManifest(vendor, [coordinatorHash, webHash], ""), policies);

  test("the Initializer gets certificates for the evidence that it collects", async () => {
    const coordinator = start("coordinator/main.ts", {
      CONTRAST_SEV_GUEST_DEVICE: kernel.sevGuestDevice,
      CONTRAST_TSM_REPORT_DIR: join(dir, "no-such"),
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_STATE_DIR: join(dir, "state"),
      CONTRAST_LISTEN_ADDRESS: ADDRESS,
    });
    await coordinator.line("ready");
    await setWebManifest();
    const initializer = startInitializer({
      CONTRAST_TEE: "snp",
      CONTRAST_TSM_REPORT_DIR: kernel.tsmReportDir,
      COORDINATOR_HOST: ADDRESS,
    });
    expect(await initializer.exited).toBe(0);
    const chain = await readFile(join(dir, "volume/certChain.pem"));
    expect(new X509Certificate(chain).subjectAltName).toBe("DNS:web");
    expect(await readdir(kernel.tsmReportDir)).toEqual([]);
  });

  test("where the host gives no certificate of the chip, the Initializer asks AMD's service for it, again and again", async () => {
    const { report, certificates } = await (await openSimulatedAttester(join(dir, "vm"))).collect(Buffer.alloc(64));
    const { chipId } = parseSnpReport(report);
    const vcek = vcekUrl({ product: "Milan", chipId, tcb: MACHINE_TCB });
    const asked: (string | undefined)[] = [];
    let isDown = true;
    const proxy = createServer((request, response) => {
      asked.push(request.url);
      if (isDown) response.writeHead(503).end();
      else response.end(certificates[0]);
    });
    proxy.listen(0, ADDRESS);
    await once(proxy, "listening");
    const CONTRAST_COLLATERAL_PROXY = `http://${ADDRESS}:${(proxy.address() as AddressInfo).port}`;
    await kernel.set({ certificates: "issuers" });
    const coordinator = start("coordinator/main.ts", {
      CONTRAST_SEV_GUEST_DEVICE: kernel.sevGuestDevice,
      CONTRAST_TSM_REPORT_DIR: join(dir, "no-such"),
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_STATE_DIR: join(dir, "state-of-proxy"),
      CONTRAST_LISTEN_ADDRESS: ADDRESS,
      CONTRAST_COLLATERAL_PROXY,
    });
    await coordinator.line("ready");
    await setWebManifest();
    const initializer = startInitializer({
      CONTRAST_TEE: "snp",
      CONTRAST_TSM_REPORT_DIR: kernel.tsmReportDir,
      CONTRAST_TLS_CONFIG_DIR: join(dir, "volume-of-proxy"),
      COORDINATOR_HOST: ADDRESS,
      CONTRAST_COLLATERAL_PROXY,
    });
    expect((await initializer.line("waiting:")).msg).toMatch(/vendor_unreachable: .*status 503 at try 3/);
    isDown = false;
    expect(await initializer.exited).toBe(0);
    const chain = await readFile(join(dir, "volume-of-proxy", "certChain.pem"));
    expect(new X509Certificate(chain).subjectAltName).toBe("DNS:web");
    // The Coordinator asked for nothing: neither it nor anybody else asks about a chip for a stranger.
    expect(new Set(asked)).toEqual(new Set([`/${vcek.host}${vcek.pathname}${vcek.search}`]));
    proxy.close();
  }, 90_000);

  test("the Initializer waits for the Coordinator once it has found its TEE", async () => {
    const initializer = startInitializer({
      CONTRAST_TEE: "snp",
      CONTRAST_TSM_REPORT_DIR: kernel.tsmReportDir,
      COORDINATOR_HOST: "127.90.0.2",
      CONTRAST_TIMEOUT: "2s",
    });
    expect(await initializer.exited).toBe(4);
    expect(initializer.log.map(({ msg }) => msg)).toContain("requesting certificates");
  });

  test("the Initializer says what it tried where there is no TEE", async () => {
    const initializer = startInitializer({
      CONTRAST_TSM_REPORT_DIR: join(dir, "no-such"),
      CONTRAST_SEV_GUEST_DEVICE: join(dir, "no-such-device"),
      COORDINATOR_HOST: ADDRESS,
    });
    expect(await initializer.exited).toBe(1);
    expect(initializer.log.at(-1)).toMatchObject({
      code: "tee_unavailable",
      msg: expect.stringMatching(/\(1\) .*no-such: ENOENT.*\(2\) .*no-such-device: ENOENT/) as string,
    });
  });

  test("a program that is stopped while the kernel waits leaves no request behind", async () => {
    await kernel.set({ hold: true });
    const held = kernel.holding();
    const collect = new URL("../attestation/collect/configfs-tsm.ts", import.meta.url).href;
    const source = `
      import { collectTsmReport } from ${JSON.stringify(collect)};
      process.on("SIGTERM", () => process.exit(9));
      await collectTsmReport(${JSON.stringify(kernel.tsmReportDir)}, Buffer.alloc(64), {});
    `;
    const program = startProgram(["--input-type=module-typescript", "--eval", source]);
    running.push(program);
    await held;
    expect(await readdir(kernel.tsmReportDir)).toHaveLength(1);
    program.child.kill("SIGTERM");
    await expect.poll(() => readdir(kernel.tsmReportDir), { timeout: 10_000 }).toEqual([]);
    await kernel.set();
    expect(await program.exited).toBe(9);
  });
});
