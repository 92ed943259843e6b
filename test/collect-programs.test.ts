import { createHash, X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { ChannelClient } from "../channel/client.ts";
import { selfSigned } from "../channel/tls.ts";
import { generateEcKey } from "../pki/keys.ts";
import { type FakeKernel, NO_FAKE_KERNEL, startFakeKernel } from "./fake-kernel/start.ts";
import { type Program, startProgram } from "./programs.ts";

/** The programs, in what looks like a VM with SEV-SNP to them. */

const ADDRESS = "127.88.0.1";
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

  async function setManifest(): Promise<void> {
    const entry = (Role: string, SANs: readonly string[]) => ({ SANs, WorkloadSecretID: "", Role });
    const manifest = {
      Policies: {
        [coordinatorHash.toString("hex")]: entry("coordinator", []),
        [webHash.toString("hex")]: entry("", ["web"]),
      },
      ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
      WorkloadOwnerKeyDigests: [],
      SeedshareOwnerPubKeys: [],
    };
    const client = new ChannelClient({
      target: `${ADDRESS}:1313`,
      identity: await selfSigned(await generateEcKey("P-256"), new Date()),
      handshakeMs: 5000,
    });
    try {
      const request = { manifest: Buffer.from(JSON.stringify(manifest)), policies: [...policies] };
      await client.call(UserAPI.method.setManifest, request, new Date(Date.now() + 10_000));
    } finally {
      client.close();
    }
  }

  test("the Initializer gets certificates for the evidence that it collects", async () => {
    const coordinator = start("coordinator/main.ts", {
      CONTRAST_SEV_GUEST_DEVICE: kernel.sevGuestDevice,
      CONTRAST_TSM_REPORT_DIR: join(dir, "no-such"),
      CONTRAST_ALLOW_INSECURE: "1",
      CONTRAST_STATE_DIR: join(dir, "state"),
      CONTRAST_LISTEN_ADDRESS: ADDRESS,
    });
    await coordinator.line("ready");
    await setManifest();
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

  test("the Initializer waits for the Coordinator once it has found its TEE", async () => {
    const initializer = startInitializer({
      CONTRAST_TEE: "snp",
      CONTRAST_TSM_REPORT_DIR: kernel.tsmReportDir,
      COORDINATOR_HOST: "127.88.0.2",
      CONTRAST_TIMEOUT: "2s",
    });
    expect(await initializer.exited).toBe(4);
    expect(initializer.log.map(({ msg }) => msg)).toContain("asking for certificates");
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
