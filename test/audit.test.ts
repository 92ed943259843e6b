import { Client, credentials } from "@grpc/grpc-js";
import { createHash, type KeyObject, generateKeyPairSync, X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { callUnary } from "../api/grpc.ts";
import { Health, HealthCheckResponse_ServingStatus } from "../api/health_pb.ts";
import { UserAPI } from "../api/userapi_pb.ts";
import { SIMULATED_MEASUREMENT } from "../attestation/simulated/attester.ts";
import { openOrCreateVendor, type SimulatedVendor } from "../attestation/simulated/vendor.ts";
import { toHex } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { generateEcKey, keyPairOf, type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import { decryptShare } from "../pki/seed-share.ts";
import { keyDigestOf, leaveFor } from "./owner-leave.ts";
import { type Program, startProgram } from "./programs.ts";

/** What the Coordinator writes into its audit log while a deployment lives, and what it never writes anywhere. */

const ADDRESS = "127.93.0.1";
const policies = {
  coordinator: Buffer.from("a Coordinator"),
  web: Buffer.from("web"),
  stranger: Buffer.from("stranger"),
};
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

let directory: string;
let vendor: SimulatedVendor;
let owner: KeyPair;
let shareOwners: KeyObject[];
const running: Program[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "audit-program-test-"));
  vendor = await openOrCreateVendor(join(directory, "vendor"), new Date());
  owner = await generateEcKey("P-384");
  shareOwners = [0, 1].map(() => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey);
  for (const [name, policy] of Object.entries(policies)) {
    await vendor.launch(join(directory, name), { hostData: Buffer.from(sha256(policy), "hex") });
  }
});

afterEach(async () => {
  for (const program of running.splice(0)) {
    program.child.kill("SIGKILL");
    await program.exited;
  }
});

afterAll(() => rmSync(directory, { recursive: true }));

function start(program: string, vm: string, environment: Record<string, string>): Program {
  const tee = {
    CONTRAST_TEE: "simulated",
    CONTRAST_ALLOW_INSECURE: "1",
    CONTRAST_SIMULATED_TEE_DIR: join(directory, vm),
  };
  const started = startProgram([`${program}/main.ts`], { ...tee, ...environment });
  running.push(started);
  return started;
}

async function startCoordinator(state: string, changes: Record<string, string> = {}): Promise<Program> {
  const environment = { CONTRAST_STATE_DIR: join(directory, state), CONTRAST_LISTEN_ADDRESS: ADDRESS, ...changes };
  const program = start("coordinator", "coordinator", environment);
  await program.line("ready");
  return program;
}

async function enroll(vm: string): Promise<number | null> {
  const volume = join(directory, `volume-${vm}`);
  return start("initializer", vm, { COORDINATOR_HOST: ADDRESS, CONTRAST_TLS_CONFIG_DIR: volume }).exited;
}

async function asUser<T>(
  keys: KeyPair,
  call: (client: ChannelClient<unknown>, deadline: Date) => Promise<T>,
): Promise<T> {
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 5000 });
  try {
    return await call(client, new Date(Date.now() + 10_000));
  } finally {
    client.close();
  }
}

const manifest = (names: string[]): Uint8Array => {
  const entry = (SANs: string[], Role = "") => ({ SANs, WorkloadSecretID: Role === "" ? "web" : "", Role });
  return Buffer.from(
    JSON.stringify({
      Policies: { [sha256(policies.coordinator)]: entry([], "coordinator"), [sha256(policies.web)]: entry(names) },
      ReferenceValues: { insecure: [{ RootDigest: vendor.rootDigest, TrustedMeasurement: SIMULATED_MEASUREMENT }] },
      WorkloadOwnerKeyDigests: [toHex(spkiDigest(owner.publicKey))],
      SeedshareOwnerPubKeys: shareOwners.map((key) => toHex(spki(keyPairOf(key).publicKey))),
      SeedshareThreshold: 2,
    }),
  );
};

/** The first set of a state, which needs nobody's leave. */
const set = (names: string[]) => {
  const request = { manifest: manifest(names), policies: [policies.coordinator, policies.web] };
  return asUser(owner, (client, deadline) => client.call(UserAPI.method.setManifest, request, deadline));
};

const setAgain = (names: string[], keys = owner) => {
  return asUser(keys, async (client, deadline) => {
    const bytes = manifest(names);
    const leave = await leaveFor(client, keys, bytes);
    const request = { manifest: bytes, policies: [policies.coordinator, policies.web], ...leave };
    return client.call(UserAPI.method.setManifest, request, deadline);
  });
};

const parse = (text: string): Record<string, unknown>[] =>
  text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("who got what, who was refused why, and never a secret", { timeout: 60_000 }, async () => {
  const first = await startCoordinator("state");
  const { seedShares, latestTransition, rootCaCert } = await set(["web"]);
  expect(await enroll("web")).toBe(0);
  expect(await enroll("stranger")).toBe(3);
  const thief = await generateEcKey("P-384");
  await expect(setAgain(["evil"], thief)).rejects.toMatchObject({ code: "not_owner" });
  const counted = await (await fetch(`http://${ADDRESS}:9102/metrics`)).text();
  for (const line of [
    'contrast_meshapi_certificates_total{result="issued"} 1',
    "contrast_meshapi_attestation_failures_total 1",
    "contrast_meshapi_evidence_verification_seconds_count 2",
    'contrast_connections_refused_total{api="mesh",reason="policy_not_allowed"} 1',
    'contrast_coordinator_state{phase="active"} 1',
  ]) {
    expect(counted.split("\n")).toContain(line);
  }
  expect(counted).toMatch(/^contrast_coordinator_manifest_set_timestamp_seconds \d{10}/m);
  first.child.kill("SIGTERM");
  expect(await first.exited).toBe(0);

  const second = await startCoordinator("state");
  const shares = (seedShares?.shares ?? []).map(({ encryptedSeed }, index) => {
    const key = shareOwners[index];
    if (key === undefined) throw new Error("more shares than owners");
    return { keys: keyPairOf(key), share: decryptShare(Buffer.from(encryptedSeed), key).reveal() };
  });
  const salt = seedShares?.salt ?? new Uint8Array();
  for (const { keys, share } of shares) {
    const request = { seed: share, salt, pinnedTransition: latestTransition, pinnedRootKey: keyDigestOf(rootCaCert) };
    await asUser(keys, (client, deadline) => client.call(UserAPI.method.recover, request, deadline));
    if (share === shares[0]?.share) {
      const readiness = await (await fetch(`http://${ADDRESS}:9102/probe/readiness`)).text();
      expect(readiness).toBe("recovery, 1 more seed share needed\n");
    }
  }
  const prober = new Client(`${ADDRESS}:9102`, credentials.createInsecure());
  const health = await callUnary(prober, Health.method.check, {}, new Date(Date.now() + 5000));
  expect(health.status).toBe(HealthCheckResponse_ServingStatus.SERVING);
  prober.close();
  const metrics = await (await fetch(`http://${ADDRESS}:9102/metrics`)).text();
  expect(metrics).toMatch(/^contrast_coordinator_recoveries_total 1$/m);
  second.child.kill("SIGTERM");
  expect(await second.exited).toBe(0);

  const volume = join(directory, "volume-web");
  const leaf = new X509Certificate(readFileSync(join(volume, "certChain.pem")));
  const inForce = { manifest: sha256(manifest(["web"])), generation: 1 };
  const web = { policy: sha256(policies.web), key: toHex(spkiDigest(leaf.publicKey)) };
  const certificate = leaf.fingerprint256.replaceAll(":", "").toLowerCase();
  const ownerKey = toHex(spkiDigest(owner.publicKey));
  const refusal = { event: "request_refused", api: "user", method: "SetManifest", code: "not_owner", ...inForce };
  expect(parse(first.stdout())).toMatchObject([
    { audit: 1, event: "coordinator_started", phase: "empty", insecure: "software TEE" },
    { audit: 2, event: "manifest_set", key: ownerKey, ...inForce },
    { audit: 3, event: "seed_shares_made", key: ownerKey, threshold: 2, ...inForce },
    { audit: 4, event: "certificate_issued", certificate, names: ["web"], tee: "snp", ...web, ...inForce },
    { audit: 5, event: "connection_refused", code: "policy_not_allowed", ...inForce },
    { audit: 6, key: toHex(spkiDigest(thief.publicKey)), ...refusal },
    { audit: 7, event: "coordinator_stopped" },
  ]);
  const [one, two] = shares.map(({ keys }) => toHex(spkiDigest(keys.publicKey)));
  expect(parse(second.stdout())).toMatchObject([
    { audit: 1, event: "coordinator_started", phase: "recovery" },
    { audit: 2, event: "share_accepted", key: one, missing: 1 },
    { audit: 3, event: "recovered", key: two, ...inForce },
    { audit: 4, event: "coordinator_stopped" },
  ]);
  for (const line of parse(first.stdout()).slice(1, -1)) expect(line["peer"]).toMatch(/^127\.\d+\.\d+\.\d+:\d+$/);

  const everything =
    [first, second].map((p) => p.stdout() + p.text.join("\n") + JSON.stringify(p.log)).join("\n") + metrics;
  const workloadSecret = Buffer.from(readFileSync(join(volume, "workload-secret-seed"), "utf8").trim(), "hex");
  for (const secret of [...shares.map(({ share }) => share), workloadSecret]) {
    expect(secret.length).toBeGreaterThanOrEqual(32);
    for (const encoding of ["hex", "base64", "base64url", "latin1"] as const) {
      expect(everything).not.toContain(secret.toString(encoding));
    }
    expect(everything).not.toContain([...secret].join());
  }
  expect(everything).not.toContain("PRIVATE KEY");
});

test("a file is opened anew on SIGHUP; standard output then has nothing", { timeout: 30_000 }, async () => {
  const path = join(directory, "audit.log");
  const coordinator = await startCoordinator("state-file", { CONTRAST_AUDIT_LOG: path });
  await set(["web"]);
  renameSync(path, `${path}.1`);
  coordinator.child.kill("SIGHUP");
  await expect.poll(() => existsSync(path)).toBe(true);
  await setAgain(["web", "more"]);
  coordinator.child.kill("SIGTERM");
  expect(await coordinator.exited).toBe(0);
  expect(parse(readFileSync(`${path}.1`, "utf8")).map(({ event }) => event)).toEqual([
    "coordinator_started",
    "manifest_set",
    "seed_shares_made",
  ]);
  const rotated = parse(readFileSync(path, "utf8"));
  expect(rotated).toMatchObject([
    { audit: 4, event: "manifest_set" },
    { audit: 5, event: "coordinator_stopped" },
  ]);
  expect(rotated[0]?.["owner"]).toBe(toHex(spkiDigest(owner.publicKey)));
  expect(coordinator.stdout()).toBe("");
});

test("a reader of standard output that goes away ends nothing and is not silent", { timeout: 30_000 }, async () => {
  const coordinator = await startCoordinator("state-closed");
  coordinator.child.stdout?.destroy();
  await set(["web"]);
  expect(await enroll("web")).toBe(0);
  await coordinator.line("the audit log can't be written");
  const metrics = await (await fetch(`http://${ADDRESS}:9102/metrics`)).text();
  expect(metrics).toMatch(/^contrast_audit_write_failures_total [1-9]/m);
});

test("an audit log that can't be opened is told at the start", async () => {
  const coordinator = start("coordinator", "coordinator", {
    CONTRAST_STATE_DIR: join(directory, "state-unopened"),
    CONTRAST_LISTEN_ADDRESS: ADDRESS,
    CONTRAST_AUDIT_LOG: join(directory, "no/such/audit.log"),
  });
  expect(await coordinator.exited).toBe(1);
  expect(coordinator.log.at(-1)).toMatchObject({
    level: "fatal",
    msg: expect.stringMatching(/CONTRAST_AUDIT_LOG: got ENOENT.*audit\.log/) as string,
  });
});
