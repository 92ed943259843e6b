import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import { cocoSnpJson, startCocoApi } from "../attestation/collect/coco/test-coco-api.ts";
import { vcekUrl } from "../attestation/endorsements/amd.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { MACHINE_TCB } from "../attestation/simulated/machine.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { parseSnpReport } from "../attestation/snp/report.ts";
import { type Program, startProgram } from "./programs.ts";
import { setManifest, webManifest } from "./web-deployment.ts";

/** The programs as they are: no device in their containers, no way to the internet, and a collateral proxy. */

const PROXY = "127.84.6.1:8080";
const COORDINATOR = "127.84.6.2";
const policies = [Buffer.from("the Coordinator's policy"), Buffer.from("web's policy")] as const;
const [coordinatorHash, webHash] = policies.map((policy) => createHash("sha256").update(policy).digest()) as [
  Buffer,
  Buffer,
];

let dir: string;
let vendor: SimulatedVendor;
const running: Program[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "collateral-proxy-"));
  vendor = await openOrCreateVendor(join(dir, "vendor"), new Date());
  await vendor.launch(join(dir, "coordinator"), { hostData: coordinatorHash });
  await vendor.launch(join(dir, "web"), { hostData: webHash });
});

afterEach(async () => {
  for (const program of running.splice(0)) {
    program.child.kill("SIGKILL");
    await program.exited;
  }
});

afterAll(async () => rm(dir, { recursive: true }));

function start(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Program {
  const started = startProgram(args, { CONTRAST_LOG_FORMAT: "json", ...environment });
  running.push(started);
  return started;
}

/** An attestation agent whose host gives no certificate of the chip. @returns its address */
async function serveWithoutVcek(host: string, name: string): Promise<string> {
  const attester = await openSimulatedAttester(join(dir, name));
  const { port, close } = await startCocoApi(host, async (data) => {
    const evidence = await attester.collect(Buffer.concat([data], 64));
    const [, ask, ark] = evidence.certificates;
    const whole = JSON.parse(cocoSnpJson(evidence)) as { cert_chain: { cert_type: string }[] };
    expect([ask, ark]).not.toContain(undefined);
    whole.cert_chain = whole.cert_chain.filter(({ cert_type: type }) => type !== "VCEK");
    return JSON.stringify(whole);
  });
  onTestFinished(close);
  return `${host}:${port}`;
}

test("a Coordinator and an Initializer get along with CoCo's API and the collateral proxy alone", async () => {
  const { report, certificates } = await (await openSimulatedAttester(join(dir, "web"))).collect(Buffer.alloc(64));
  const vcek = vcekUrl({ product: "Milan", chipId: parseSnpReport(report).chipId, tcb: MACHINE_TCB });
  const asked: string[] = [];
  const upstream = createServer((request, response) => {
    asked.push(request.url ?? "");
    if (request.url === `${vcek.pathname}${vcek.search}`) response.end(certificates[0]);
    else response.writeHead(404).end();
  });
  upstream.listen(0, "127.84.6.3");
  onTestFinished(() => void upstream.close());
  await once(upstream, "listening");
  const { port } = upstream.address() as AddressInfo;
  const proxy = start([
    "cli/main.ts",
    `--workspace-dir=${dir}`,
    "collateral-proxy",
    `--listen=${PROXY}`,
    `--upstream=${vcek.host}=http://127.84.6.3:${port}`,
  ]);
  await once(proxy.child.stderr ?? proxy.child, "data");
  const common = {
    CONTRAST_TEE: "coco",
    CONTRAST_COLLATERAL_PROXY: `http://${PROXY}`,
    // The packet filter of this machine is not to be touched.
    CONTRAST_OPEN_ATTESTATION_API: "1",
  };
  const coordinator = start(["coordinator/main.ts"], {
    ...common,
    CONTRAST_ATTESTATION_API: await serveWithoutVcek("127.84.6.4", "coordinator"),
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_STATE_DIR: join(dir, "state"),
    CONTRAST_LISTEN_ADDRESS: COORDINATOR,
  });
  await coordinator.line("ready");
  await setManifest(COORDINATOR, webManifest(vendor, [coordinatorHash, webHash], ""), policies);
  const initializer = start(["initializer/main.ts"], {
    ...common,
    CONTRAST_ATTESTATION_API: await serveWithoutVcek("127.84.6.5", "web"),
    CONTRAST_TLS_CONFIG_DIR: join(dir, "volume"),
    CONTRAST_TIMEOUT: "30s",
    COORDINATOR_HOST: COORDINATOR,
  });
  expect(await initializer.exited, initializer.log.map(({ msg }) => msg).join("\n")).toBe(0);
  expect(new X509Certificate(await readFile(join(dir, "volume/certChain.pem"))).subjectAltName).toBe("DNS:web");
  // One request for both: they run on one chip.
  expect(asked).toEqual([`${vcek.pathname}${vcek.search}`]);
  proxy.child.kill("SIGTERM");
  expect(await proxy.exited).toBe(143);
});
