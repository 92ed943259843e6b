import { createPrivateKey, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { encodePermit } from "../api/permit.ts";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { type AmendResponse, UserAPI } from "../api/userapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { sha256Hex } from "../bytes/sha256.ts";
import { ChannelClient } from "../channel/client.ts";
import { type AttestedHistory, attestedHistory } from "../manifest/attested-history.ts";
import { type Annex, EMPTY_ANNEX, encodeAnnex, LARGEST_SECRET, parseAnnex } from "../manifest/annex.ts";
import { policyReader, workloadReader } from "../manifest/annex-names.ts";
import { generationOf } from "../manifest/transition-kind.ts";
import { generateEcKey, type KeyPair, keyPairOf } from "../pki/keys.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { signAmendment } from "./owner-leave.ts";
import type { Program } from "./programs.ts";

/** Secrets and leaves to format over the attested channel, with the Coordinator as the program it is. The tests go on. */

const ADDRESS = "127.41.22.1";
const deployment = createCliDeployment(ADDRESS);
const clients: ChannelClient<unknown>[] = [];
const value = randomBytes(24).toString("base64url");

let coordinator: Program;
let owner: KeyPair;
/** Of the workload that runs in the VM `web`. */
let policy: string;
let id: string;

const later = (): Date => new Date(Date.now() + 20_000);

function connect(keys: KeyPair): ChannelClient<unknown> {
  const client = new ChannelClient({ target: `${ADDRESS}:1313`, keys, handshakeMs: 10_000 });
  clients.push(client);
  return client;
}

async function workload(): Promise<ChannelClient<unknown>> {
  const attester = await openSimulatedAttester(deployment.file("simulated-tee/web"));
  const keys = await generateEcKey("P-256");
  const client = new ChannelClient({ target: `${ADDRESS}:7777`, keys, attester, handshakeMs: 10_000 });
  clients.push(client);
  return client;
}

async function history(): Promise<AttestedHistory> {
  return attestedHistory(await connect(owner).call(UserAPI.method.getManifests, {}, later()));
}

async function annexInForce(): Promise<Annex> {
  const bytes = (await history()).steps.at(-1)?.annex;
  return bytes === undefined ? EMPTY_ANNEX : parseAnnex(bytes);
}

async function amend(annex: Annex, keys = owner): Promise<AmendResponse> {
  const bytes = encodeAnnex(annex);
  return connect(keys).call(UserAPI.method.amend, await signAmendment(connect(owner), owner, bytes), later());
}

async function setSecret(name: string, text: string, readers: readonly string[], keep = true): Promise<AmendResponse> {
  const before = await annexInForce();
  const { latestVersion: last, versions } = before.secrets.get(name) ?? { latestVersion: 0, versions: [] };
  const version = last + 1;
  const request = { name, version, readers: [...readers], value: Buffer.from(text) };
  const { sealedDigest } = await connect(owner).call(UserAPI.method.sealSecret, request, later());
  const sealed = Buffer.from(sealedDigest).toString("hex");
  const kept = keep ? versions.slice(0, 1) : [];
  const secret = { latestVersion: version, versions: [{ version, readers, sealed }, ...kept] };
  return amend({ ...before, secrets: new Map([...before.secrets, [name, secret]]) });
}

beforeAll(async () => {
  expect((await deployment.generate()).code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  expect((await deployment.contrast("set")).code).toBe(0);
  owner = keyPairOf(createPrivateKey(deployment.read("workload-owner.pem")));
  const { Policies } = JSON.parse(deployment.read("manifest.json")) as {
    Policies: Record<string, { WorkloadSecretID?: string; SANs: string[] }>;
  };
  const web = Object.entries(Policies).find(([, { SANs }]) => SANs.includes("web"));
  [policy, id] = [web?.[0] ?? "", web?.[1].WorkloadSecretID ?? ""];
}, 60_000);

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

afterAll(() => deployment.remove());

test("a secret reaches the workload that it names, and CurrentTrust tells that there is something new", async () => {
  const client = await workload();
  const before = await client.call(MeshAPI.method.newMeshCert, {}, later());
  expect(before).toMatchObject({ secrets: [], annex: new Uint8Array() });
  expect((await client.call(MeshAPI.method.currentTrust, {}, later())).annex).toHaveLength(0);
  const { transitionRecord, latestTransition } = await setSecret("db", value, [workloadReader(id)]);
  expect(sha256Hex(transitionRecord)).toBe(Buffer.from(latestTransition).toString("hex"));
  await setSecret("other", "not for web", [policyReader("ab".repeat(32))]);
  await setSecret("by-policy", "for this policy", [policyReader(policy)]);
  const after = await client.call(MeshAPI.method.newMeshCert, {}, later());
  const told = after.secrets.map(({ name, version, value: bytes }) => [name, version, Buffer.from(bytes).toString()]);
  expect(told).toEqual(
    expect.arrayContaining([
      ["db", 1, value],
      ["by-policy", 1, "for this policy"],
    ]),
  );
  expect(told).toHaveLength(2);
  // Nothing else is new for a pod.
  expect([after.meshCaCert, after.rootCaCert, after.previousMeshCaCerts, after.settleMs]).toEqual([
    before.meshCaCert,
    before.rootCaCert,
    before.previousMeshCaCerts,
    before.settleMs,
  ]);
  const { annex, digest } = await client.call(MeshAPI.method.currentTrust, {}, later());
  expect(annex).toEqual(after.annex);
  expect(Buffer.from(annex).toString("hex")).toBe(sha256Hex((await history()).steps.at(-1)?.annex ?? Buffer.alloc(0)));
  expect(digest).toHaveLength(32);
}, 60_000);

test("a leave to format is given once, and over the connection of the workload alone", async () => {
  const client = await workload();
  const use = (volume: string) => client.call(MeshAPI.method.useFormatGrant, { volume }, later());
  await expect(use("data")).rejects.toMatchObject({ code: "no_format_grant" });
  await expect(use("../data")).rejects.toMatchObject({ code: "malformed_request" });
  const before = await annexInForce();
  const grants = new Map([["data", { allowed: 1, used: 0 }]]);
  await amend({
    ...before,
    volumes: new Map([
      [id, grants],
      ["another", grants],
    ]),
  });
  const stranger = new ChannelClient({
    target: `${ADDRESS}:7777`,
    keys: await generateEcKey("P-256"),
    handshakeMs: 9000,
  });
  clients.push(stranger);
  await expect(stranger.call(MeshAPI.method.useFormatGrant, { volume: "data" }, later())).rejects.toMatchObject({
    code: "evidence_missing",
  });
  await use("data");
  await expect(use("data")).rejects.toMatchObject({ code: "no_format_grant" });
  const { volumes } = await annexInForce();
  expect(volumes.get(id)?.get("data")).toEqual({ allowed: 1, used: 1 });
  expect(volumes.get("another")?.get("data")).toEqual({ allowed: 1, used: 0 });
}, 60_000);

test("only a workload owner's connection seals, and only what an annex can name", async () => {
  const good = { name: "db", version: 2, readers: [workloadReader(id)], value: Buffer.from("x") };
  const seal = (changes: Partial<typeof good>, keys = owner) =>
    connect(keys).call(UserAPI.method.sealSecret, { ...good, ...changes }, later());
  const stranger = await generateEcKey("P-256");
  await expect(seal({}, stranger)).rejects.toMatchObject({ code: "not_owner" });
  await expect(seal({ value: Buffer.alloc(60_000) }, stranger)).rejects.toMatchObject({ code: "not_owner" });
  for (const wrong of [
    { name: "../db" },
    { name: "workload-secret-seed" },
    { version: 0 },
    { readers: [] },
    { readers: ["web"] },
    { readers: [workloadReader("b"), workloadReader("a")] },
    { readers: Array.from({ length: 65 }, (_, index) => workloadReader(String(index).padStart(3))) },
    { value: Buffer.alloc(0) },
    { value: Buffer.alloc(LARGEST_SECRET + 1) },
  ]) {
    await expect(seal(wrong)).rejects.toMatchObject({ code: "malformed_request" });
  }
  expect((await seal({ value: Buffer.alloc(LARGEST_SECRET) })).sealedDigest).toHaveLength(32);
}, 60_000);

test("a large annex needs an owner's connection, or a permit with an owner's signature; a small one a signature", async () => {
  const before = await annexInForce();
  const names = Array.from({ length: 200 }, (_, index) => `volume-${index}`);
  const grants = new Map(names.map((name) => [name, { allowed: 1, used: 0 }]));
  const large = encodeAnnex({ ...before, volumes: new Map([...before.volumes, ["large", grants]]) });
  const request = await signAmendment(connect(owner), owner, large);
  const stranger = await generateEcKey("P-256");
  const send = (changes: Partial<typeof request>, permit?: Buffer) =>
    connect(stranger).call(UserAPI.method.amend, { ...request, ...changes }, later(), permit);
  await expect(send({})).rejects.toMatchObject({ code: "not_owner" });
  const { signatures, signedMeshKey } = request;
  const annexDigest = Buffer.from(sha256Hex(large), "hex");
  const permit = { signatures: [...signatures], signedMeshKey, annexDigest };
  const other = encodePermit({ ...permit, annexDigest: Buffer.alloc(32) });
  await expect(send({}, other)).rejects.toMatchObject({ code: "bad_signature" });
  await send({}, encodePermit(permit));
  expect((await annexInForce()).volumes.get("large")?.size).toBe(200);
  await expect(send({ annex: Buffer.from("{}") })).rejects.toMatchObject({ code: "conflict" });
}, 60_000);

test("after a restart and a recovery all of it is there, and the history has one manifest", async () => {
  const { steps, meshKey } = await history();
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  await deployment.contrast("verify").catch(() => undefined);
  expect(await deployment.contrast("recover")).toMatchObject({ code: 0 });
  const after = await history();
  expect(after.transitions).toEqual(steps.map(({ transition }) => transition.digest));
  expect(generationOf(after.steps.map(({ transition }) => transition))).toBe(1);
  expect(after.meshKey).not.toBe(meshKey);
  const { secrets } = await (await workload()).call(MeshAPI.method.newMeshCert, {}, later());
  expect(secrets.map(({ name }) => name).toSorted()).toEqual(["by-policy", "db"]);
}, 60_000);

test("a workload is told which ciphertext is missing, and others are served", async () => {
  const sealed = (await annexInForce()).secrets.get("db")?.versions[0]?.sealed ?? "";
  await deployment.stop(coordinator);
  rmSync(join(deployment.directory, "state", "secrets", sealed));
  coordinator = await deployment.startCoordinator("state");
  expect(await deployment.contrast("recover")).toMatchObject({ code: 0 });
  await expect((await workload()).call(MeshAPI.method.newMeshCert, {}, later())).rejects.toMatchObject({
    code: "damaged_state",
    where: expect.stringContaining("the secret db"),
  });
  await setSecret("db", "new", [workloadReader(id)], false);
  const { secrets } = await (await workload()).call(MeshAPI.method.newMeshCert, {}, later());
  expect(secrets.map(({ name, version }) => `${name}@${version}`)).toContain("db@2");
}, 60_000);

test("no line of the program and no file of its state has a value in it", async () => {
  const forms = [value, Buffer.from(value).toString("base64"), Buffer.from(value).toString("hex")];
  const state = join(deployment.directory, "state");
  const files = readdirSync(state, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name)).toString("latin1"));
  const output = [...coordinator.text, coordinator.stdout(), JSON.stringify(coordinator.log)];
  for (const text of [...files, ...output]) for (const form of forms) expect(text).not.toContain(form);
  const events = coordinator.stdout().split("\n");
  expect(events.filter((line) => line.includes('"event":"amended"')).length).toBeGreaterThan(0);
  expect(events.filter((line) => line.includes('"event":"secret_sealed"')).length).toBeGreaterThan(0);
});
