import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, randomBytes, X509Certificate } from "node:crypto";
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UserAPI } from "../api/userapi_pb.ts";
import { isEqual } from "../bytes/encode.ts";
import { ChannelClient } from "../channel/client.ts";
import { makeSeedShares } from "../coordinator/state/seed-shares.ts";
import { SeedEngine } from "../coordinator/state/seed.ts";
import { HostileStore, makeUp, readShares } from "../coordinator/state/test-hostile-host.ts";
import { type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import { decryptShare, encryptShare } from "../pki/seed-share.ts";
import { Secret } from "../runtime/secret.ts";
import { type CliDeployment, createCliDeployment } from "./cli-deployment.ts";
import type { Program } from "./programs.ts";

/** Recovery by the owners in turn, with the programs as people run them. The tests go on from one another. */

const owners = [1, 2, 3].map((): KeyPair => generateKeyPairSync("rsa", { modulusLength: 2048 }));
const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 });
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

let deployment: CliDeployment;
let coordinator: Program;
let keys: string[];

beforeAll(async () => {
  deployment = createCliDeployment("127.95.0.1");
  const write = (name: string, pair: KeyPair): string => {
    const path = join(deployment.directory, name);
    writeFileSync(path, pair.privateKey.export({ type: "pkcs8", format: "pem" }));
    return path;
  };
  keys = [...owners, stranger].map((pair, index) => write(`owner-${index}.pem`, pair));
  const add = keys.slice(0, 3).flatMap((key) => ["--add-seedshare-owner-key", key]);
  const tooMany = await deployment.generate(...add, "--seedshare-threshold", "4");
  expect(tooMany).toMatchObject({ code: 2, stderr: expect.stringMatching(/threshold_too_high.*4, with 3 keys/) });
  expect(await deployment.generate(...add, "--seedshare-threshold", "2")).toMatchObject({ code: 0 });
  coordinator = await deployment.startCoordinator("state");
}, 60_000);

afterAll(() => deployment.remove());

const recover = (owner: number, ...args: string[]) =>
  deployment.contrast("recover", "--seedshare-owner-key", keys[owner] ?? "", ...args);

function verifies(ca: string, chain: string): boolean {
  try {
    execFileSync("openssl", ["verify", "-CAfile", ca, "-untrusted", chain, chain], { stdio: "pipe" });
    return true;
  } catch {
    return false;
  }
}

const publicKeyOf = (name: string): string => hex(spkiDigest(new X509Certificate(deployment.read(name)).publicKey));

test("every set gives the seed shares, so that a lost answer loses nothing", async () => {
  expect(await deployment.result("set")).not.toHaveProperty("next");
  const shares = deployment.read("seed-shares.json");
  expect(JSON.parse(shares)).toMatchObject({ Threshold: 2, SeedShares: [{}, {}, {}] });
  const seed = shares.replaceAll(/"(PublicKey|Salt)": "[0-9a-f]+"/g, "");
  expect(new Set(seed.match(/[0-9a-f]{512}/g))).toHaveLength(3);

  // As if the Coordinator's first answer had never come.
  rmSync(deployment.file("seed-shares.json"));
  const again = await deployment.result("set");
  expect(again["written"]).toContain(deployment.file("seed-shares.json"));
  expect(again["next"]).toContain("restart the workloads");
  expect(deployment.read("seed-shares.json")).toBe(shares);
  const third = await deployment.result("set");
  expect(third["written"]).not.toContain(deployment.file("seed-shares.json"));
  await deployment.result("verify");
  expect(deployment.read("verify/seed-shares.json")).toBe(shares);
}, 60_000);

test("after a restart, any two of three owners recover in turn, and nothing else does", async () => {
  const before = { ...(await deployment.enroll("before")), root: publicKeyOf("coordinator-root-ca.pem") };
  const meshCa = publicKeyOf("mesh-ca.pem");
  expect(verifies(deployment.file("mesh-ca.pem"), before.chain)).toBe(true);
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  for (const command of ["set", "verify"]) {
    expect(await deployment.contrast(command)).toMatchObject({
      code: 5,
      stderr: expect.stringContaining("needs_recovery") as string,
    });
  }

  // Who does not know the deployment has nothing to compare what comes back with.
  const pin = deployment.read("pinned.json");
  rmSync(deployment.file("pinned.json"));
  const unpinned = await recover(0);
  expect(unpinned).toMatchObject({ code: 3, stderr: expect.stringContaining("not_pinned") as string });
  expect(unpinned.stderr).toContain("run `contrast verify` while the Coordinator is active");
  expect(unpinned.stderr).not.toMatch(/another owner|copy/);
  writeFileSync(deployment.file("pinned.json"), pin);

  // Who has no share, and who makes up one together with a seed.
  expect(await recover(3)).toMatchObject({ code: 3, stderr: expect.stringContaining("no_seed_share") as string });
  const shares = deployment.read("seed-shares.json");
  const entry = (pair: KeyPair, secret: Secret) => ({
    PublicKey: hex(spki(pair.publicKey)),
    EncryptedSeed: hex(encryptShare(secret, spki(pair.publicKey))),
  });
  const withEntry = (pair: KeyPair, secret: Secret): string => {
    const file = JSON.parse(shares) as { SeedShares: { PublicKey: string }[] };
    const others = file.SeedShares.filter(({ PublicKey }) => PublicKey !== hex(spki(pair.publicKey)));
    return JSON.stringify({ ...file, SeedShares: [...others, entry(pair, secret)] });
  };
  writeFileSync(deployment.file("seed-shares.json"), withEntry(stranger, new Secret(randomBytes(33))));
  expect(await recover(3)).toMatchObject({ code: 3, stderr: expect.stringContaining("not_seedshare_owner") as string });

  const [, second = stranger] = owners;
  const first = await recover(0);
  expect(first).toMatchObject({ code: 0, stdout: expect.stringMatching(/share accepted[^]*missing shares: 1\n/) });
  writeFileSync(deployment.file("seed-shares.json"), withEntry(second, new Secret(randomBytes(33))));
  const wrong = await recover(1);
  expect(wrong.stderr).toMatch(/wrong_seed.*the seed share owner/);
  expect(wrong.stderr).toContain(hex(spkiDigest(second.publicKey)));
  expect(wrong.code).toBe(3);
  expect(await recover(0)).toMatchObject({ code: 0, stdout: expect.stringContaining("missing shares: 1") as string });
  expect((await deployment.contrast("verify")).code).toBe(5);

  // An owner who never set a manifest has the shares from `verify`.
  rmSync(deployment.file("seed-shares.json"));
  const last = await deployment.result("recover", "--seedshare-owner-key", keys[2] ?? "");
  expect(last).toMatchObject({ result: "recovered" });
  expect(deployment.read("pinned.json")).toBe(pin);
  expect(last["restart"]).toEqual([
    expect.stringMatching(/^web, \*, workload secret apps\/v1\/Deployment\/\S+\/web \(policy [0-9a-f]{12}\)$/),
  ]);
  expect((await deployment.contrast("verify")).code).toBe(0);
  writeFileSync(deployment.file("seed-shares.json"), shares);

  // The certificates of before are worth nothing now; what comes from the seed is as it was.
  expect(publicKeyOf("mesh-ca.pem")).not.toBe(meshCa);
  expect(verifies(deployment.file("mesh-ca.pem"), before.chain)).toBe(false);
  const after = await deployment.enroll("after");
  expect(verifies(deployment.file("mesh-ca.pem"), after.chain)).toBe(true);
  expect(after.secret).toBe(before.secret);
  expect(publicKeyOf("coordinator-root-ca.pem")).toBe(before.root);
  // What was recovered did not become what is pinned; the verify after it pinned the new mesh CA.
  expect(last["written"]).not.toContain(deployment.file("pinned.json"));
  const { MeshCaKey, ...others } = JSON.parse(deployment.read("pinned.json")) as Record<string, string>;
  expect(JSON.parse(pin)).toMatchObject(others);
  expect(MeshCaKey).toBe(publicKeyOf("verify/mesh-ca.pem"));

  // Nobody was told a share, neither on the way nor by the log.
  const log = JSON.stringify([coordinator.log, coordinator.text, first, wrong, last]);
  for (const { EncryptedSeed } of (JSON.parse(shares) as { SeedShares: { EncryptedSeed: string }[] }).SeedShares) {
    const opened = owners.flatMap(({ privateKey }) => {
      try {
        return [decryptShare(Buffer.from(EncryptedSeed, "hex"), privateKey).reveal()];
      } catch {
        return [];
      }
    });
    expect(opened).toHaveLength(1);
    for (const bytes of opened)
      for (const form of ["hex", "base64"] as const) expect(log).not.toContain(bytes.toString(form));
  }
}, 120_000);

test("an active Coordinator is recovered only by force, and by as many owners", async () => {
  expect(await recover(0)).toMatchObject({ code: 1, stderr: expect.stringContaining("not_in_recovery") as string });
  const meshCa = publicKeyOf("mesh-ca.pem");
  expect((await recover(0, "--force")).stdout).toContain("missing shares: 1");
  expect((await deployment.contrast("verify")).code).toBe(0);
  expect((await recover(1, "--force")).stdout).toContain("result: recovered\n");
  expect(publicKeyOf("mesh-ca.pem")).not.toBe(meshCa);
}, 60_000);

test("a recovered Coordinator with another manifest than the one at hand is reported, and nothing is written", async () => {
  // The host gives an old copy of the state back.
  const old = join(deployment.directory, "old.json");
  copyFileSync(deployment.file("manifest.json"), old);
  deployment.editManifest((manifest) => Object.assign(manifest["Policies"] as object, withName(manifest, "www")));
  const meshCa = deployment.read("mesh-ca.pem");
  expect((await recover(1, "--force")).stdout).toContain("missing shares: 1");
  const { code, stdout, stderr } = await recover(2, "--force");
  expect(stderr).toMatch(/manifest_mismatch.*is recovered and now enforces another manifest.*old copy/);
  expect(stdout).toMatch(/^result: recovered, with another manifest/);
  expect(stdout).toMatch(/^restart:\n {2}web, \*, /m);
  expect(code).toBe(3);
  expect(deployment.read("mesh-ca.pem")).toBe(meshCa);
  copyFileSync(old, deployment.file("manifest.json"));
  expect((await deployment.contrast("verify")).code).toBe(0);
}, 60_000);

function withName(manifest: Record<string, unknown>, name: string): Record<string, unknown> {
  const policies = Object.entries(manifest["Policies"] as Record<string, { SANs: string[]; Role?: string }>);
  return Object.fromEntries(
    policies.map(([hash, policy]) => [hash, policy.Role ? policy : { ...policy, SANs: [...policy.SANs, name] }]),
  );
}

test("a state that is older than what an owner has verified is refused", async () => {
  const [state, old] = ["state", "old"].map((name) => join(deployment.directory, name)) as [string, string];
  cpSync(state, old, { recursive: true });
  const pins = deployment.read("pinned.json");
  const manifest = deployment.read("manifest.json");
  deployment.editManifest((document) => Object.assign(document["Policies"] as object, withName(document, "www")));
  await deployment.result("set");
  await deployment.result("verify");
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("old");
  expect(await recover(0)).toMatchObject({ code: 3, stderr: expect.stringContaining("pin_mismatch") as string });
  // An owner who knows no newer one goes along, and whoever knows does not take that for the deployment.
  const newer = deployment.read("pinned.json");
  writeFileSync(deployment.file("pinned.json"), pins);
  writeFileSync(deployment.file("manifest.json"), manifest);
  for (const owner of [0, 1]) expect((await recover(owner)).code).toBe(0);
  writeFileSync(deployment.file("pinned.json"), newer);
  for (const command of ["verify", "set"]) {
    const refused = await deployment.contrast(command);
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("pin_mismatch") as string });
  }
  expect(deployment.read("pinned.json")).toBe(newer);
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  for (const owner of [0, 1]) await recover(owner);
  deployment.editManifest((document) => Object.assign(document["Policies"] as object, withName(document, "www")));
  expect((await deployment.contrast("verify")).code).toBe(0);
}, 120_000);

const client = (keys: KeyPair): ChannelClient<unknown> =>
  new ChannelClient({ target: "127.95.0.1:1313", keys, handshakeMs: 10_000 });

const soon = (): Date => new Date(Date.now() + 10_000);

test("a host and one of two owners can't make a Coordinator their own with a seed that they know", async () => {
  await deployment.stop(coordinator);
  // The real manifest and the real seed shares, salt and digests included, but for the colluding owner's.
  const real = await readShares(new HostileStore(join(deployment.directory, "state")));
  const [colluding = stranger] = owners.slice(1);
  const [seed, own] = [randomBytes(32), spki(colluding.publicKey)];
  for (const [name, share] of [
    ["the seed at place 0", Buffer.concat([seed, Buffer.of(0)])],
    ["the seed at some other place", Buffer.concat([seed, Buffer.of(77)])],
  ] as const) {
    const digest = createHash("sha256").update(share).digest();
    const seedShares = {
      ...real,
      shares: real.shares.map((entry) => (isEqual(entry.publicKey, own) ? { ...entry, digest } : entry)),
    };
    const engine = new SeedEngine(new Secret(seed), seedShares.salt);
    const state = `colluding ${name}`;
    const step = { manifest: readFileSync(deployment.file("manifest.json")), policies: [], seedShares };
    const latest = await makeUp(new HostileStore(join(deployment.directory, state)), engine, undefined, step);
    coordinator = await deployment.startCoordinator(state);
    const rootCa = deployment.read("coordinator-root-ca.pem");

    const collude = async (): Promise<unknown> => {
      const host = client(colluding);
      const request = {
        seed: share,
        salt: seedShares.salt,
        pinnedTransition: Buffer.from(latest.transition, "hex"),
        pinnedRootKey: spkiDigest(engine.rootKey.publicKey),
      };
      return host.call(UserAPI.method.recover, request, soon()).finally(() => host.close());
    };
    await collude().catch(() => undefined);
    const honest = await recover(0);
    expect(honest).toMatchObject({ code: 3, stderr: expect.stringContaining("pin_mismatch") as string });
    await collude().catch(() => undefined);
    expect(await (await fetch("http://127.95.0.1:9102/probe/readiness")).text()).toMatch(/^recovery/);
    expect(deployment.read("coordinator-root-ca.pem")).toBe(rootCa);
    await deployment.stop(coordinator);
  }
}, 90_000);

test("a host can't make a Coordinator its own with a seed of its own under the owners' manifest", async () => {
  // All that the host needs is public: the manifest and its own key. The state that it makes is correct throughout.
  const manifest = readFileSync(deployment.file("manifest.json"));
  const ownerKeys = owners.map(({ publicKey }) => spki(publicKey));
  const [seed, salt] = [new Secret(randomBytes(32)), randomBytes(32)];
  const engine = new SeedEngine(seed, salt);
  const step = { manifest, policies: [], seedShares: await makeSeedShares(seed, salt, ownerKeys, 2) };
  const latest = await makeUp(new HostileStore(join(deployment.directory, "hostile")), engine, undefined, step);
  coordinator = await deployment.startCoordinator("hostile");

  const host = client(stranger);
  const pins = {
    pinnedTransition: Buffer.from(latest.transition, "hex"),
    pinnedRootKey: spkiDigest(engine.rootKey.publicKey),
  };
  for (const force of [false, true]) {
    const attack = host.call(UserAPI.method.recover, { seed: seed.reveal(), salt, force, ...pins }, soon());
    await expect(attack).rejects.toMatchObject({ code: "not_seedshare_owner" });
  }
  host.close();
  // Nor does an owner help the host without knowing it, whatever version of the program asks.
  expect(await recover(0)).toMatchObject({ code: 3, stderr: expect.stringContaining("pin_mismatch") as string });
  const [owner = stranger] = owners;
  const old = client(owner);
  const without = old.call(UserAPI.method.recover, { seed: seed.reveal(), salt }, soon());
  await expect(without).rejects.toMatchObject({ code: "not_pinned" });
  old.close();
  expect((await deployment.contrast("verify")).code).toBe(5);
}, 60_000);

test("a deployment without workload owners stays as it is", async () => {
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("immutable");
  for (const name of ["pinned.json", "coordinator-root-ca.pem"]) rmSync(deployment.file(name));
  const before = deployment.read("manifest.json");
  deployment.editManifest((manifest) => (manifest["WorkloadOwnerKeyDigests"] = []));
  expect((await deployment.contrast("set")).code).toBe(0);
  expect(await deployment.contrast("set")).toMatchObject({
    code: 3,
    stderr: expect.stringContaining("immutable") as string,
  });
  expect((await deployment.contrast("verify")).stdout).toContain("generation: 1");
  writeFileSync(deployment.file("manifest.json"), before);
}, 60_000);
