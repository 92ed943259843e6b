import { execFile, execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { readClaims } from "../attestation/read-claims.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { generateEcKey, type KeyPair, spkiDigest } from "../pki/keys.ts";
import { leaveFor } from "./owner-leave.ts";
import { type Program, startProgram } from "./programs.ts";

/** Coordinator and Initializer as the programs they are, over real sockets; the CLI's part is played by its channel. */

const ADDRESS = "127.87.0.1";
const policies = {
  coordinator: Buffer.from("the Coordinator's policy"),
  web: Buffer.from("web's policy"),
  stranger: Buffer.from("a policy that no manifest lists"),
};

let directory: string;
let vendor: SimulatedVendor;
let owner: KeyPair;
const running: Program[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "coordinator-test-"));
  vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
  owner = await generateEcKey("P-384");
  for (const [name, policy] of Object.entries(policies)) {
    await vendor.launch(join(directory, name), { hostData: createHash("sha256").update(policy).digest() });
  }
});

afterEach(async () => {
  for (const program of running.splice(0)) {
    program.child.kill("SIGKILL");
    await program.exited;
  }
});

afterAll(() => rmSync(directory, { recursive: true }));

const tee = (vm: string) => ({
  CONTRAST_TEE: "simulated",
  CONTRAST_ALLOW_INSECURE: "1",
  CONTRAST_SIMULATED_TEE_DIR: join(directory, vm),
});

function start(args: string[], environment: Record<string, string>): Program {
  const program = startProgram(args, environment);
  running.push(program);
  return program;
}

async function startCoordinator(state: string): Promise<Program> {
  const environment = {
    ...tee("coordinator"),
    CONTRAST_STATE_DIR: join(directory, state),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
  };
  const program = start(["coordinator/main.ts"], environment);
  await program.line("ready");
  return program;
}

function startInitializer(volume: string, changes: Record<string, string> = {}): Program {
  return start(["initializer/main.ts"], {
    ...tee("web"),
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_TLS_CONFIG_DIR: join(directory, volume),
    ...changes,
  });
}

function manifest(names: string[]): Buffer {
  const entry = (role: string, SANs: string[]) => ({ SANs, WorkloadSecretID: role === "" ? "web" : "", Role: role });
  const hash = (policy: Buffer): string => createHash("sha256").update(policy).digest("hex");
  return Buffer.from(
    JSON.stringify({
      Policies: { [hash(policies.coordinator)]: entry("coordinator", []), [hash(policies.web)]: entry("", names) },
      ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
      WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
      SeedshareOwnerPubKeys: [],
    }),
  );
}

async function setManifest(names: string[], keys = owner): Promise<{ meshCaCert: string; rootCaCert: string }> {
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 5000 });
  try {
    const bytes = manifest(names);
    const leave = await leaveFor(client, keys, bytes);
    const request = { manifest: bytes, policies: [policies.coordinator, policies.web], ...leave };
    return await client.call(UserAPI.method.setManifest, request, new Date(Date.now() + 10_000));
  } finally {
    client.close();
  }
}

async function probe(path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://${ADDRESS}:9102${path}`);
  return { status: response.status, text: await response.text() };
}

function verifies(ca: string, chain: string): boolean {
  const caFile = join(directory, "ca.pem");
  writeFileSync(caFile, ca);
  try {
    execFileSync(
      "openssl",
      ["verify", "-CAfile", caFile, "-untrusted", join(directory, chain), join(directory, chain)],
      { stdio: "pipe" },
    );
    return true;
  } catch {
    return false;
  }
}

test("an Initializer waits for a manifest and then writes its files as one set", async () => {
  await startCoordinator("state-wait");
  expect((await probe("/probe/liveness")).status).toBe(200);
  expect((await probe("/probe/readiness")).status).toBe(503);
  const initializer = startInitializer("volume-wait");
  await initializer.line("waiting: no_manifest");
  await setManifest(["web", "*", "127.0.0.1", "spiffe://demo/web"]);
  expect(await initializer.exited).toBe(0);
  expect((await probe("/probe/readiness")).status).toBe(200);

  const volume = join(directory, "volume-wait");
  const modes = readdirSync(join(volume, "..data"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => [relative(join(volume, "..data"), file), (statSync(file).mode & 0o777).toString(8)]);
  expect(Object.fromEntries(modes)).toEqual({
    "certChain.pem": "444",
    "coordinator-root-ca.pem": "444",
    "key.pem": "400",
    "mesh-ca.pem": "444",
    "secrets/workload-secret-seed": "400",
    "workload-secret-seed": "400",
    "workload-secret-seed.1": "400",
  });
  const names = readdirSync(volume).filter((name) => !name.startsWith(".."));
  expect(names.toSorted((a, b) => (a < b ? -1 : 1))).toEqual([
    "certChain.pem",
    "coordinator-root-ca.pem",
    "key.pem",
    "mesh-ca.pem",
    "secrets",
    "tls-config",
    "workload-secret-seed",
    "workload-secret-seed.1",
  ]);
  expect(readFileSync(join(volume, "workload-secret-seed"), "utf8")).toMatch(/^[0-9a-f]{64}$/);
  expect(initializer.log.filter(({ msg }) => msg.startsWith("waiting"))).toHaveLength(1);
  for (const { insecure } of initializer.log) expect(insecure).toBe("software TEE");
});

test("certificates carry the manifest's names and the verified claims, for both ends of TLS", async () => {
  await startCoordinator("state-names");
  await setManifest(["web", "*", "203.0.113.34", "spiffe://demo/web"]);
  expect(await startInitializer("volume-names").exited).toBe(0);
  const chain = readFileSync(join(directory, "volume-names/certChain.pem"), "utf8");
  const leaf = new X509Certificate(chain);
  expect(leaf.subjectAltName).toBe("DNS:web, DNS:*, IP Address:203.0.113.34, URI:spiffe://demo/web");
  expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]);
  expect(leaf.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
  const text = (
    await promisify(execFile)("openssl", [
      "x509",
      "-in",
      join(directory, "volume-names/certChain.pem"),
      "-noout",
      "-text",
    ])
  ).stdout;
  expect(text).toContain("1.3.9901.2.1.4");
  const hostData = createHash("sha256").update(policies.web).digest("hex");
  expect(text).toContain(hostData);
  const read = readClaims(leaf.raw);
  expect(read).toMatchObject({ tee: "snp", claims: { hostData, debug: false, insecure: true, vmpl: 0 }, unknown: [] });
  expect(Object.keys(read?.claims ?? {}).length).toBeGreaterThan(55);
});

test("a new manifest makes a new mesh CA, and the old certificates are worth nothing under it", async () => {
  await startCoordinator("state-rotate");
  const before = await setManifest(["web"]);
  expect(await startInitializer("volume-rotate").exited).toBe(0);
  expect(verifies(before.meshCaCert, "volume-rotate/certChain.pem")).toBe(true);
  expect(verifies(before.rootCaCert, "volume-rotate/certChain.pem")).toBe(true);
  const secret = readFileSync(join(directory, "volume-rotate/workload-secret-seed"), "utf8");

  const after = await setManifest(["web", "203.0.113.34"]);
  expect(verifies(after.meshCaCert, "volume-rotate/certChain.pem")).toBe(false);
  expect(await startInitializer("volume-rotate").exited).toBe(0);
  expect(verifies(after.meshCaCert, "volume-rotate/certChain.pem")).toBe(true);
  expect(readFileSync(join(directory, "volume-rotate/workload-secret-seed"), "utf8")).toBe(secret);
  expect((await probe("/metrics")).text).toMatch(/^contrast_coordinator_manifest_generation 2$/m);
});

test("a stranger to the owners may not set a manifest", async () => {
  await startCoordinator("state-owner");
  await setManifest(["web"]);
  await expect(setManifest(["evil"], await generateEcKey("P-384"))).rejects.toMatchObject({ code: "not_owner" });
});

test("a pod that the manifest does not list gets nothing, is told why, and is counted", async () => {
  await startCoordinator("state-stranger");
  await setManifest(["web"]);
  const initializer = startInitializer("volume-stranger", tee("stranger"));
  expect(await initializer.exited).toBe(3);
  expect(initializer.log.at(-1)).toMatchObject({ level: "fatal", code: "policy_not_allowed" });
  expect(initializer.log.at(-1)?.msg).toContain(createHash("sha256").update(policies.stranger).digest("hex"));
  expect(existsSync(join(directory, "volume-stranger"))).toBe(false);
  expect((await probe("/metrics")).text).toMatch(/^contrast_meshapi_attestation_failures_total 1$/m);
});

test("after a restart the Coordinator needs recovery, and Initializers wait for it", async () => {
  const first = await startCoordinator("state-restart");
  await setManifest(["web"]);
  first.child.kill("SIGTERM");
  expect(await first.exited).toBe(0);
  await startCoordinator("state-restart");
  expect(await probe("/probe/readiness")).toEqual({ status: 503, text: "recovery\n" });
  expect((await probe("/probe/liveness")).status).toBe(200);
  const initializer = startInitializer("volume-restart", { CONTRAST_TIMEOUT: "2s" });
  await initializer.line("waiting: needs_recovery");
  expect(await initializer.exited).toBe(5);
});

test("an Initializer without a Coordinator waits, and gives up when its time is over", async () => {
  const initializer = startInitializer("volume-nobody", {
    COORDINATOR_HOST: "127.87.0.99",
    CONTRAST_TIMEOUT: "1500ms",
  });
  expect(await initializer.exited).toBe(4);
  expect(initializer.log.filter(({ msg }) => msg.startsWith("waiting: unreachable"))).toHaveLength(1);
});

test("an Initializer that is told to stop stops at once", async () => {
  const initializer = startInitializer("volume-stop", { COORDINATOR_HOST: "127.87.0.99" });
  await initializer.line("waiting: unreachable");
  const begin = Date.now();
  initializer.child.kill("SIGTERM");
  expect(await initializer.exited).toBe(4);
  expect(Date.now() - begin).toBeLessThan(2000);
});

test.each([
  ["initializer", {}, ["COORDINATOR_HOST"]],
  ["initializer", { COORDINATOR_HOST: "a b", CONTRAST_TIMEOUT: "soon" }, ["COORDINATOR_HOST", "CONTRAST_TIMEOUT"]],
  ["coordinator", { CONTRAST_TEE: "simulated" }, ["CONTRAST_ALLOW_INSECURE", "CONTRAST_SIMULATED_TEE_DIR"]],
  ["coordinator", { CONTRAST_TEE: "sgx", CONTRAST_STAT_DIR: "/tmp" }, ["CONTRAST_TEE", "CONTRAST_STAT_DIR"]],
])("%s with %j names what is wrong and exits with 2", async (program, environment, names) => {
  const started = start([`${program}/main.ts`], environment);
  expect(await started.exited).toBe(2);
  expect(started.log).toMatchObject([{ level: "fatal", code: "configuration" }]);
  for (const name of names) expect(started.log[0]?.msg).toContain(` ${name}: got `);
  expect(started.text).toEqual([]);
});

test("garbage on any port is closed with one line of the log, and others are served", async () => {
  const coordinator = await startCoordinator("state-garbage");
  for (const port of [1313, 7777, 9102]) {
    const lines = coordinator.log.length;
    const socket = connect(port, ADDRESS);
    socket.on("error", () => undefined);
    socket.write(Buffer.alloc(1000, "garbage "));
    socket.resume();
    // Not `once`, which takes a reset on the way for a failure.
    await new Promise((resolve) => socket.once("close", resolve));
    await expect.poll(() => coordinator.log.length).toBe(lines + 1);
    expect(coordinator.log.at(-1)).toMatchObject({ level: "warn" });
    await setManifest(["web", `port-${port}`]);
    await expect.poll(() => coordinator.log.at(-1)?.msg).toBe("manifest set");
  }
  expect((await probe("/probe/readiness")).status).toBe(200);
});

test("a port that is taken is one line, and exit code 1", async () => {
  const blocker = createServer().listen(7777, "127.87.0.2");
  await once(blocker, "listening");
  const program = start(["coordinator/main.ts"], {
    ...tee("coordinator"),
    CONTRAST_STATE_DIR: join(directory, "state-taken"),
    CONTRAST_LISTEN_ADDRESS: "127.87.0.2",
  });
  expect(await program.exited).toBe(1);
  expect(program.text).toEqual([]);
  expect(program.log.map(({ msg }) => msg)).toEqual([expect.stringContaining("127.87.0.2:7777")]);
  blocker.close();
});
