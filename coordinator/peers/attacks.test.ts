import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MeshAPI } from "../../api/meshapi_pb.ts";
import type { Attester, SnpEvidence } from "../../attestation/evidence.ts";
import { openSimulatedAttester } from "../../attestation/simulated/attester.ts";
import { openTestVendor } from "../../attestation/simulated/test-vendor.ts";
import { ChannelClient } from "../../channel/client.ts";
import { generateEcKey } from "../../pki/keys.ts";
import { handoverOf } from "../state/handover.ts";
import { authorityOf } from "../state/snapshot.ts";
import { SharedBacking, type SharedStore } from "../state/test-shared-store.ts";
import {
  COORDINATOR,
  type CoordinatorChanges,
  makeDeployment,
  manifestFor,
  setRequest,
  startCoordinator,
  type TestCoordinator,
  type TestDeployment,
  until,
  WORKLOAD,
} from "./test-coordinator.ts";
import { handoverMessage } from "../serve/peer-api.ts";
import { type HostilePeer, startHostilePeer } from "./test-hostile-peer.ts";

/** A host, and peers of its own, against a Coordinator that lacks its secrets or is to give them away. */

const [VICTIM, HOSTILE, GENUINE] = ["127.42.3.1", "127.42.3.2", "127.42.3.3"] as const;

let deployment: TestDeployment;
let backing: SharedBacking;
const ends: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  deployment = await makeDeployment();
  backing = new SharedBacking();
});

afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
  await deployment.remove();
});

async function start(address: string, changes: CoordinatorChanges = {}, store: SharedStore = backing.open()) {
  const coordinator = await startCoordinator(deployment, store, address, changes);
  ends.push(() => coordinator.kill());
  return coordinator;
}

async function hostile(attester: Attester, answers: Parameters<typeof startHostilePeer>[2]): Promise<HostilePeer> {
  const peer = await startHostilePeer(HOSTILE, attester, answers);
  ends.push(() => peer.close());
  return peer;
}

/** A Coordinator that is in recovery, and asks the host's peer. */
function victim(changes: CoordinatorChanges = {}): Promise<TestCoordinator> {
  return start(VICTIM, { peers: [HOSTILE], ...changes });
}

/** Resolves with the code for which it took nothing from the peer. */
async function refused({ guard, events }: TestCoordinator): Promise<string> {
  await until(() => events.some(({ event }) => event === "peer_recovery_refused"));
  expect(guard.phase).not.toBe("active");
  const event = events.find(({ event: name }) => name === "peer_recovery_refused");
  return event?.event === "peer_recovery_refused" ? event.code : "";
}

/**
 * The host's own history, correct in every other way: a Coordinator of the same program, which the host runs under a policy
 * that allows everything, set the host's manifest. It names the honest owners.
 */
async function madeUp(policy: Buffer, coordinators: readonly Buffer[]) {
  const attester = await deployment.launch(policy);
  const host = await start(GENUINE, { attester });
  await host.guard.set(setRequest(deployment, host.guard, { name: "web", coordinators }));
  return { attester, handover: host.guard.handOver() };
}

test("the made-up manifest: a policy that allows everything as Coordinator, under the honest owners' keys", async () => {
  const allowAll = Buffer.from("a policy that allows everything");
  const { attester, handover } = await madeUp(allowAll, [allowAll, COORDINATOR]);
  const peer = await hostile(attester, { recover: () => handoverMessage(handover) });
  const coordinator = await victim();
  expect(await refused(coordinator)).toBe("peer_not_accepted");
  expect(coordinator.guard.phase).toBe("recovery");
  // It was not even asked.
  expect(peer.asked).toEqual([]);
  // It is the list of the Coordinator's own environment that makes the difference, and nothing in the store.
  const listed = [{ policy: createHash("sha256").update(allowAll).digest("hex"), measurement: undefined }];
  await coordinator.kill();
  const careless = await victim({ listed });
  await until(() => careless.guard.phase === "active");
});

test("a workload, which any manifest may call a Coordinator, hands over nothing", async () => {
  const { attester, handover } = await madeUp(WORKLOAD, [WORKLOAD, COORDINATOR]);
  await hostile(attester, { recover: () => handoverMessage(handover) });
  expect(await refused(await victim())).toBe("peer_not_accepted");
});

test("the Coordinator's policy with another guest image hands over nothing", async () => {
  const { handover } = await madeUp(COORDINATOR, [COORDINATOR]);
  const attester = await changedVm((identity) => ({ ...identity, Measurement: "77".repeat(48) }));
  await hostile(attester, { recover: () => handoverMessage(handover) });
  expect(await refused(await victim())).toBe("peer_not_accepted");
});

test("a software TEE of another vendor hands over nothing", async () => {
  const { handover } = await madeUp(COORDINATOR, [COORDINATOR]);
  const directory = await mkdtemp(join(tmpdir(), "peers-test-"));
  ends.push(() => rm(directory, { recursive: true }));
  const vendor = await openTestVendor(directory, new Date("2026-01-01"), "other");
  await hostile(await deployment.launch(COORDINATOR, { vendor }), { recover: () => handoverMessage(handover) });
  expect(await refused(await victim())).toBe("untrusted_root");
});

test("a peer without evidence hands over nothing", async () => {
  const { handover } = await madeUp(COORDINATOR, [COORDINATOR]);
  const none = { insecure: undefined, collect: () => Promise.reject(new Error("it has none")) };
  const peer = await hostile(none, { recover: () => handoverMessage(handover) });
  expect(await refused(await victim())).toMatch(/^(internal|evidence_missing)$/);
  expect(peer.asked).toEqual([]);
});

test("genuine evidence that was made for another connection is refused: relay and replay", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  // The host connects to the genuine Coordinator itself, and shows the victim what it was shown.
  let stolen: SnpEvidence | undefined;
  const thief = new ChannelClient<string>({
    target: `${GENUINE}:7777`,
    keys: await generateEcKey("P-256"),
    attester: await deployment.launch(WORKLOAD),
    handshakeMs: 5000,
    appraiseServer: async ({ evidence }) => {
      if (evidence?.kind === "snp") stolen = evidence;
      return "seen";
    },
  });
  await thief.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 5000));
  thief.close();
  const replayed = stolen;
  if (replayed === undefined) throw new Error("nothing was stolen");
  const peer = await hostile({ insecure: undefined, collect: async () => replayed }, { recover: () => ({}) });
  expect(await refused(await victim())).toBe("report_data_mismatch");
  expect(peer.asked).toEqual([]);
});

test("whoever only passes bytes on learns nothing, and the victim gets the genuine secrets through him", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const seen: Buffer[] = [];
  const relay = await passOn(HOSTILE, GENUINE, seen);
  ends.push(async () => void relay.close());
  const coordinator = await victim();
  await until(() => coordinator.guard.phase === "active");
  const { seed } = genuine.guard.handOver();
  expect(Buffer.concat(seen).length).toBeGreaterThan(1000);
  expect(Buffer.concat(seen).includes(seed.reveal())).toBe(false);
});

const OTHER_SEED = randomBytes(32);
const otherKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "der" });

/** The host can't make a genuine Coordinator do that. It is what stands behind the acceptance. */
test.each<[string, string, (given: ReturnType<typeof handoverMessage>) => ReturnType<typeof handoverMessage>]>([
  ["another seed", "wrong_seed", (given) => ({ ...given, seed: OTHER_SEED })],
  ["another salt", "wrong_seed", (given) => ({ ...given, salt: randomBytes(32) })],
  ["no seed", "bad_handover", (given) => ({ ...given, seed: Buffer.alloc(0) })],
  ["a short seed", "bad_handover", (given) => ({ ...given, seed: OTHER_SEED.subarray(1) })],
  ["another mesh CA key", "bad_handover", (given) => ({ ...given, meshKey: otherKey })],
  ["no mesh CA key", "bad_handover", (given) => ({ ...given, meshKey: Buffer.of(1) })],
  ["the root CA as the mesh CA", "bad_handover", (given) => ({ ...given, meshCaCert: given.rootCaCert ?? "" })],
  ["the mesh CA as the root CA", "bad_handover", (given) => ({ ...given, rootCaCert: given.meshCaCert ?? "" })],
  ["no root CA", "bad_handover", (given) => ({ ...given, rootCaCert: "" })],
  ["a previous mesh CA that is none", "bad_handover", (given) => ({ ...given, previousMeshCaCerts: ["x"] })],
  ["no pointer", "unknown_state_version", (given) => ({ ...given, pointer: Buffer.alloc(0) })],
  ["a pointer of another form", "unknown_state_version", (given) => ({ ...given, pointer: Buffer.of(9) })],
  ["a pointer of another seed", "wrong_seed", (given) => ({ ...given, pointer: flip(given.pointer, 40) })],
])("an accepted peer that hands over %s is refused", async (_what, code, change) => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const attester = await deployment.launch(COORDINATOR);
  await hostile(attester, { recover: () => change(handoverMessage(genuine.guard.handOver())) });
  expect(await refused(await victim())).toBe(code);
});

test("a mesh CA that the pointer does not name is refused, though key and certificate fit", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const snapshot = genuine.guard.active();
  const authority = authorityOf(snapshot, await generateEcKey("P-256"), new Date());
  const attester = await deployment.launch(COORDINATOR);
  await hostile(attester, { recover: () => handoverMessage(handoverOf({ ...snapshot, authority })) });
  expect(await refused(await victim())).toBe("bad_handover");
});

test("a stale peer's secrets are not taken, and a store that is older than a peer is told of", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const old = genuine.guard.handOver();
  const before = backing.pointer;
  await genuine.set({ name: "www" });
  const attester = await deployment.launch(COORDINATOR);
  let answer = handoverMessage(old);
  await hostile(attester, { recover: () => answer });
  const coordinator = await victim();
  await until(() => coordinator.log.some(({ code }) => code === "stale_state"));
  expect(coordinator.guard.phase).toBe("recovery");

  answer = handoverMessage(genuine.guard.handOver());
  backing.move(before);
  await until(() => coordinator.log.some(({ code }) => code === "state_rolled_back"));
  expect(coordinator.guard.phase).toBe("recovery");
});

test("an accepted peer is refused where the manifest that it brings calls it no Coordinator", async () => {
  const genuine = await start(GENUINE);
  await genuine.set({ role: "" });
  const attester = await deployment.launch(COORDINATOR);
  await hostile(attester, { recover: () => handoverMessage(genuine.guard.handOver()) });
  expect(await refused(await victim())).toBe("not_coordinator");
});

test("an accepted peer is refused where the manifest that it brings asks for other hardware", async () => {
  const genuine = await start(GENUINE);
  await genuine.set({ rootDigest: "00".repeat(32) });
  const attester = await deployment.launch(COORDINATOR);
  await hostile(attester, { recover: () => handoverMessage(genuine.guard.handOver()) });
  expect(await refused(await victim())).toBe("untrusted_root");
});

test("a seed of the host's under the owners' own manifest is refused by the history in the store", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  // All of it is the host's, and fits together, but for the records of the genuine history.
  const other = new SharedBacking();
  const host = await start("127.42.3.4", {}, other.open());
  await host.guard.set(setRequest(deployment, host.guard));
  const { manifest } = manifestFor(deployment);
  expect(host.guard.active().manifestDigest).toBe(createHash("sha256").update(manifest).digest("hex"));
  const attester = await deployment.launch(COORDINATOR);
  await hostile(attester, { recover: () => handoverMessage(host.guard.handOver()) });
  const coordinator = await victim();
  await until(() => coordinator.log.some(({ code }) => code === "stale_state"));
  expect(coordinator.guard.phase).toBe("recovery");
});

test("a giver gives nothing to a workload, and nothing to a Coordinator that the manifest does not list", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const ask = async (attester: Attester | undefined): Promise<unknown> => {
    const client = new ChannelClient<string>({
      target: `${GENUINE}:7777`,
      keys: await generateEcKey("P-256"),
      ...(attester === undefined ? {} : { attester }),
      handshakeMs: 5000,
    });
    const answer = client.call(MeshAPI.method.recover, {}, new Date(Date.now() + 5000));
    return answer.catch((error: unknown) => error).finally(() => client.close());
  };
  expect(await ask(await deployment.launch(WORKLOAD))).toMatchObject({ code: "not_coordinator" });
  expect(await ask(await deployment.launch(Buffer.from("another Coordinator")))).toMatchObject({
    code: "policy_not_allowed",
  });
  expect(await ask(undefined)).toMatchObject({ code: "evidence_missing" });
  expect(await ask(await changedVm((identity) => ({ ...identity, Measurement: "77".repeat(48) })))).toMatchObject({
    code: expect.stringMatching(/measurement|reference_values/) as string,
  });
  expect(genuine.events.filter(({ event }) => event === "peer_recovery_given")).toEqual([]);
  expect(await ask(await deployment.launch(COORDINATOR))).toMatchObject({ seed: expect.any(Uint8Array) as object });
});

test("a Coordinator of an older manifest is given nothing, on a connection that it has already, neither", async () => {
  const old = Buffer.from("the Coordinator of before");
  const genuine = await start(GENUINE);
  await genuine.set({ coordinators: [COORDINATOR, old] });
  const client = new ChannelClient<string>({
    target: `${GENUINE}:7777`,
    keys: await generateEcKey("P-256"),
    attester: await deployment.launch(old),
    handshakeMs: 5000,
  });
  ends.push(async () => client.close());
  const ask = (method: typeof MeshAPI.method.recover | typeof MeshAPI.method.latest): Promise<unknown> =>
    client.call(method as typeof MeshAPI.method.recover, {}, new Date(Date.now() + 5000));
  await ask(MeshAPI.method.recover);
  await genuine.set();
  await expect(ask(MeshAPI.method.recover)).rejects.toMatchObject({ code: "policy_not_allowed" });
  await expect(ask(MeshAPI.method.latest)).rejects.toMatchObject({ code: "policy_not_allowed" });
});

test("a Coordinator that a set removes is stale for good: it takes nothing over", async () => {
  const old = Buffer.from("the Coordinator of before");
  const genuine = await start(GENUINE, { peers: [VICTIM] });
  await genuine.set({ coordinators: [COORDINATOR, old] });
  const own = createHash("sha256").update(COORDINATOR).digest("hex");
  const listed = [{ policy: own, measurement: undefined }];
  const removed = await start(VICTIM, { peers: [GENUINE], attester: await deployment.launch(old), listed });
  await until(() => removed.guard.phase === "active");
  await genuine.set();
  await until(() => removed.guard.phase === "stale");
  await until(() => removed.log.some(({ code }) => code === "policy_not_allowed"));
  const oldHash = createHash("sha256").update(old).digest("hex");
  await expect(removed.guard.takeOver(oldHash)).rejects.toMatchObject({ code: "not_coordinator" });
  expect(removed.guard.phase).toBe("stale");
  expect(genuine.guard.phase).toBe("active");
});

test("a peer that says nothing keeps nobody from the others", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket));
  await new Promise<void>((resolve) => silent.listen(7777, HOSTILE, resolve));
  ends.push(async () => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const coordinator = await victim({ peers: [HOSTILE, GENUINE] });
  await until(() => coordinator.guard.phase === "active");
  expect(sockets.length).toBeGreaterThan(0);
});

test("an answer that is larger than any handover is not taken", async () => {
  const genuine = await start(GENUINE);
  await genuine.set();
  const attester = await deployment.launch(COORDINATOR);
  const previousMeshCaCerts = ["x".repeat(2 ** 20)];
  await hostile(attester, { recover: () => ({ ...handoverMessage(genuine.guard.handOver()), previousMeshCaCerts }) });
  expect(await refused(await victim())).toBe("malformed_message");
});

test("what DNS says costs no more than sixteen peers", async () => {
  const addresses = Array.from({ length: 1000 }, (_, index) => `127.42.9.${index % 250}:${7000 + index}`);
  const resolver = {
    lookup: async () => addresses.map((one) => ({ address: one.split(":")[0] ?? "" })),
    own: () => [],
  };
  const coordinator = await start(VICTIM, { peers: ["many"], options: { resolver } });
  await until(() => (coordinator.peers?.status().length ?? 0) > 0);
  expect(coordinator.peers?.status()).toHaveLength(16);
});

/** A VM of the deployment's vendor whose host has changed what it reports. */
async function changedVm(change: (identity: Record<string, unknown>) => object): Promise<Attester<SnpEvidence>> {
  const directory = await mkdtemp(join(tmpdir(), "peers-test-"));
  ends.push(() => rm(directory, { recursive: true }));
  const hostData = createHash("sha256").update(COORDINATOR).digest();
  await deployment.vendor.launch(directory, { hostData });
  const file = join(directory, "identity.json");
  await writeFile(file, JSON.stringify(change(JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>)));
  return openSimulatedAttester(directory);
}

function flip(bytes: Uint8Array | undefined, at: number): Buffer {
  const flipped = Buffer.from(bytes ?? []);
  flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
  return flipped;
}

/** Passes on what comes, both ways, and keeps it. */
async function passOn(from: string, to: string, seen: Buffer[]): Promise<Server> {
  const server = createServer((near) => {
    const far = connect(7777, to);
    near.on("data", (chunk: Buffer) => (seen.push(chunk), far.write(chunk)));
    far.on("data", (chunk: Buffer) => (seen.push(chunk), near.write(chunk)));
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("close", end).on("error", end);
  });
  await new Promise<void>((resolve) => server.listen(7777, from, resolve));
  return server;
}
