import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";
import { generateEcKey, spki, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import { handoverOf } from "../state/handover.ts";
import { movePointer } from "../state/history.ts";
import { signLatest } from "../state/pointer.ts";
import type { RecoverRequest } from "../state/recover.ts";
import { makeSeedShares } from "../state/seed-shares.ts";
import { SeedEngine } from "../state/seed.ts";
import { authorityOf, type Snapshot } from "../state/snapshot.ts";
import { StateGuard } from "../state/state-guard.ts";
import { makeUp } from "../state/test-hostile-host.ts";
import { SharedBacking, type SharedStore } from "../state/test-shared-store.ts";
import { recoverRequest } from "../test-deployment.ts";
import {
  COORDINATOR,
  makeDeployment,
  type ManifestChanges,
  manifestFor,
  setRequest,
  type TestDeployment,
  verifiedCoordinator,
} from "./test-coordinator.ts";

/** What the guard makes of what a shared store and peers show it, by a clock that stands until it is moved. */

let deployment: TestDeployment;
/** A Coordinator by the manifest, as its peers have verified it. */
let peer: VerifiedClaimant;
let backing: SharedBacking;
let clock: number;

const now = (): Date => new Date("2026-06-01T00:00:00Z");
const OWN_POLICY = createHash("sha256").update(COORDINATOR).digest("hex");

beforeAll(async () => {
  deployment = await makeDeployment();
  peer = await verifiedCoordinator(deployment, now);
});

afterAll(() => deployment.remove());

beforeEach(() => {
  backing = new SharedBacking();
  clock = 1000;
});

async function load(store: SharedStore = backing.open()): Promise<StateGuard> {
  const sharing = { monotonic: () => clock, hold: false };
  return StateGuard.load({ store, allowInsecure: true, now, random: randomBytes, sharing });
}

/** A look at the store that begins now. */
function look(guard: StateGuard) {
  return guard.observe(backing.pointer, clock);
}

/** A set by the owner. */
function set(guard: StateGuard, changes: ManifestChanges = {}) {
  return guard.set(setRequest(deployment, guard, changes));
}

const recovery = (known: Snapshot): RecoverRequest => recoverRequest(known, deployment.seedshareOwner);

test("a set is confirmed by its own move, and by looks, for as long as the bound says", async () => {
  const guard = await load();
  await set(guard);
  for (const second of [1, 2, 3, 4]) {
    clock = 1000 + second * 3000;
    expect(guard.phase).toBe("active");
  }
  clock += 3001;
  expect(guard.phase).toBe("stale");
  expect(() => guard.active()).toThrow(expect.objectContaining({ code: "stale_state" }));
  await expect(set(guard)).rejects.toMatchObject({ code: "stale_state" });
  expect(await look(guard)).toBe("confirmed");
  expect(guard.phase).toBe("active");
});

test("another's first set leads to recovery", async () => {
  const [one, two] = [await load(), await load()];
  expect(await look(two)).toBe("nothing");
  await set(one);
  expect(await look(two)).toBe("moved");
  expect(two.phase).toBe("recovery");
  expect([...two.ownersInsecure]).toContain(toHex(spkiDigest(deployment.ownerKeys.publicKey)));
  await expect(set(two)).rejects.toMatchObject({ code: "needs_recovery" });
});

test("two first sets at once: one is a conflict", async () => {
  const [one, two] = [await load(), await load()];
  const sets = await Promise.allSettled([set(one), set(two, { name: "www" })]);
  expect(sets.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect(sets.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "conflict" } });
});

test("two recoveries at once from one store: one is a conflict, and there is one mesh CA", async () => {
  const first = await load();
  const request = recovery((await set(first)).snapshot);
  const guards = [await load(), await load()];
  const recovered = await Promise.allSettled(guards.map((guard) => guard.recover(request)));
  expect(recovered.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect(recovered.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "conflict" } });
  const winner = guards.find((guard) => guard.phase === "active") ?? fail();
  expect(winner.active().latest.meshKey).toBe(toHex(spkiDigest(winner.active().authority.meshKey.publicKey)));
  // The one before them has the same manifest and another mesh CA, so it serves no more.
  expect(await look(first)).toBe("moved");
  expect(first.phase).toBe("stale");
});

test("a look that began before a set says nothing about it", async () => {
  const guard = await load();
  await set(guard);
  const [before, at] = [backing.pointer, clock];
  clock += 10;
  await set(guard, { name: "www" });
  expect(await guard.observe(before, at)).toBe("nothing");
  expect(guard.phase).toBe("active");
});

test("a look during the own move says nothing", async () => {
  const store = backing.open();
  const guard = await load(store);
  await set(guard);
  const seen: unknown[] = [];
  const swap = store.compareAndSwapLatest.bind(store);
  store.compareAndSwapLatest = async (expected, next) => {
    await swap(expected, next);
    clock += 5;
    seen.push(await look(guard), guard.phase);
  };
  await set(guard, { name: "www" });
  expect(seen).toEqual(["nothing", "active"]);
});

test("an older pointer, or none, changes nothing of what is in force, and refuses a set", async () => {
  const guard = await load();
  await set(guard);
  const before = backing.pointer;
  await set(guard, { name: "www" });
  for (const older of [before, undefined]) {
    const latest = backing.pointer;
    backing.pointer = older;
    expect(await look(guard)).toBe("rolled_back");
    expect(guard.phase).toBe("active");
    await expect(set(guard)).rejects.toMatchObject({ code: "state_rolled_back" });
    backing.pointer = latest;
    expect(await look(guard)).toBe("confirmed");
  }
  await set(guard);
});

test("a pointer that can't be read confirms nothing", async () => {
  const guard = await load();
  await set(guard);
  await expect(guard.observe(Buffer.from("garbage"), clock)).rejects.toMatchObject({ code: "unknown_state_version" });
  await expect(guard.observe(Buffer.alloc(201, 2), clock)).rejects.toMatchObject({ code: "damaged_state" });
  expect(guard.phase).toBe("active");
});

test("a pointer of another seed stops everything until the own one is back, and is never taken over", async () => {
  const guard = await load();
  await set(guard);
  const mine = backing.pointer;
  const thief = new SeedEngine(new Secret(randomBytes(32)), randomBytes(32));
  const { latest } = guard.active();
  const target = { transition: latest.transition, meshKey: "ee".repeat(32) };
  const theirs = await movePointer(backing.open(), latest, target, thief.historyKey.privateKey);
  expect(await look(guard)).toBe("moved");
  expect(guard.phase).toBe("stale");
  await expect(guard.takeOver(OWN_POLICY)).rejects.toMatchObject({ code: "wrong_seed" });
  await expect(guard.hear({ pointer: theirs.raw, fork: [] }, "peer")).rejects.toMatchObject({ code: "wrong_seed" });
  backing.pointer = mine;
  expect(await look(guard)).toBe("confirmed");
  expect(guard.phase).toBe("active");
});

test("whoever has the seed and no owner's key can stop a Coordinator, and make it take over nothing", async () => {
  const guard = await load();
  const { snapshot } = await set(guard);
  const { latest, seed, seedShares } = snapshot;
  const { manifest, policies } = manifestFor(deployment, { name: "made-up" });
  const signatures = [{ publicKey: Buffer.alloc(91, 1), signature: Buffer.alloc(70, 1) }];
  const meshKey = toHex(spkiDigest(snapshot.authority.meshKey.publicKey));
  await makeUp(backing.open(), seed, latest, { manifest, policies, seedShares, meshKey, signatures });
  expect(await look(guard)).toBe("moved");
  await expect(guard.takeOver(OWN_POLICY)).rejects.toMatchObject({ code: "unauthorized_history" });
  expect(guard.phase).toBe("stale");
});

test("only a Coordinator by the manifest in force takes over, and whoever had it is stale", async () => {
  const [one, two] = await twoThatShare();
  await set(one, { name: "www" });
  expect(await look(two)).toBe("moved");
  await expect(two.takeOver("0".repeat(64))).rejects.toMatchObject({ code: "not_coordinator" });
  expect(two.phase).toBe("stale");
  const taken = await two.takeOver(OWN_POLICY);
  expect(taken?.manifestDigest).toBe(one.known?.manifestDigest);
  expect(two.phase).toBe("active");
  expect(await look(one)).toBe("moved");
});

test("nothing is taken over that is older than what a peer has shown", async () => {
  const [one, two] = await twoThatShare();
  const before = backing.pointer;
  const { snapshot } = await set(one, { name: "www" });
  await two.hear({ pointer: snapshot.latest.raw, fork: [] }, "peer");
  expect(two.phase).toBe("stale");
  backing.pointer = before;
  expect(await look(two)).toBe("confirmed");
  expect(two.phase).toBe("stale");
  await expect(two.takeOver(OWN_POLICY)).rejects.toMatchObject({ code: "state_rolled_back" });
});

test("nothing is taken over that lies between what is known and what a peer has shown, or after it", async () => {
  const [one, two] = await twoThatShare();
  await set(one, { name: "www" });
  const between = backing.pointer;
  const { snapshot } = await set(one, { name: "web" });
  const latest = backing.pointer;
  await two.hear({ pointer: snapshot.latest.raw, fork: [] }, "peer");
  backing.pointer = between;
  expect(await look(two)).toBe("moved");
  await expect(two.takeOver(OWN_POLICY)).rejects.toMatchObject({ code: "state_rolled_back" });
  backing.pointer = latest;
  await set(one, { name: "www" });
  // It is waited for anew.
  await expect(two.takeOver(OWN_POLICY)).rejects.toMatchObject({ code: "stale_state" });
  expect(two.phase).toBe("stale");
});

test("a history that begins anew is not taken from an accepted peer, though its pointer says that it continues", async () => {
  const [one, two] = await twoThatShare();
  const known = two.active();
  const [seed, salt] = [new Secret(randomBytes(32)), randomBytes(32)];
  const thief = new SeedEngine(seed, salt);
  const { manifest, policies } = manifestFor(deployment);
  const seedShares = await makeSeedShares(seed, salt, [spki(deployment.seedshareOwner.publicKey)], 1);
  backing.pointer = undefined;
  const { transition } = await makeUp(backing.open(), thief, undefined, { manifest, policies, seedShares });
  const meshKey = await generateEcKey("P-256");
  const target = { transition, meshKey: toHex(spkiDigest(meshKey.publicKey)) };
  const latest = signLatest(known.latest, target, thief.historyKey.privateKey);
  backing.pointer = latest.raw;
  expect(await look(two)).toBe("moved");
  const authority = authorityOf({ ...known, seed: thief, generation: 1 }, meshKey, now());
  const handover = handoverOf({ ...known, seed: thief, seedShares, latest, authority });
  await expect(two.adopt(handover, peer)).rejects.toMatchObject({ code: "another_history" });
  expect(two.phase).toBe("stale");
  expect(one.phase).toBe("active");
});

test("another pointer with the own number in the store is a fork", async () => {
  const guard = await load();
  await set(guard);
  const first = guard.active().latest;
  await set(guard, { name: "www" });
  const { seed } = guard.active();
  const target = { transition: first.transition, meshKey: "ee".repeat(32) };
  backing.pointer = signLatest(first, target, seed.historyKey.privateKey).raw;
  clock += 1;
  expect(await look(guard)).toBe("forked");
  expect(guard.phase).toBe("forked");
  expect(() => guard.active()).toThrow(expect.objectContaining({ code: "history_forked" }));
  expect(() => guard.handOver()).toThrow(expect.objectContaining({ code: "history_forked" }));
});

test("a later pointer whose chain lacks the own one is a fork", async () => {
  const guard = await load();
  await set(guard);
  const { seed, latest } = guard.active();
  const target = { transition: latest.transition, meshKey: "ee".repeat(32) };
  const store = backing.open();
  const own = backing.pointer;
  backing.pointer = undefined;
  const rival = await movePointer(store, undefined, target, seed.historyKey.privateKey);
  await movePointer(store, rival, target, seed.historyKey.privateKey);
  expect(backing.pointer).not.toEqual(own);
  expect(await look(guard)).toBe("forked");
});

test("peers are told of a fork by the proof alone, and by nothing less", async () => {
  const [one, two] = await twoThatShare();
  const { seed, latest } = one.active();
  const fork = (meshKey: string) =>
    signLatest(latest, { transition: latest.transition, meshKey: meshKey.repeat(32) }, seed.historyKey.privateKey).raw;
  const [a, b] = [fork("aa"), fork("bb")];
  const thief = new SeedEngine(new Secret(randomBytes(32)), randomBytes(32));
  const forged = signLatest(
    latest,
    { transition: latest.transition, meshKey: "cc".repeat(32) },
    thief.historyKey.privateKey,
  );
  const pointer = latest.raw;
  await two.hear({ pointer, fork: [a] }, "peer");
  await two.hear({ pointer, fork: [a, a] }, "peer");
  await two.hear({ pointer, fork: [a, pointer] }, "peer");
  await expect(two.hear({ pointer, fork: [a, forged.raw] }, "peer")).rejects.toMatchObject({ code: "wrong_seed" });
  await expect(two.hear({ pointer, fork: [Buffer.alloc(3), a] }, "peer")).rejects.toMatchObject({
    code: "unknown_state_version",
  });
  expect(two.phase).toBe("active");
  const told = await two.hear({ pointer, fork: [a, b] }, "peer");
  expect(two.phase).toBe("forked");
  // It tells on what it was told.
  expect((await one.hear(told, "peer")).fork).toEqual([a, b]);
  expect(one.phase).toBe("forked");
});

test("a peer that is behind is told what is in force, also where it asks a thousand times", async () => {
  const [one, two] = await twoThatShare();
  const old = two.active().latest.raw;
  const { snapshot } = await set(one, { name: "www" });
  for (let index = 0; index < 1000; index++) {
    expect(await one.hear({ pointer: old, fork: [] }, "peer")).toEqual({ pointer: snapshot.latest.raw, fork: [] });
  }
  expect(one.phase).toBe("active");
});

test("owners can recover one that is stale, and it has to continue what it knew", async () => {
  const [one, two] = await twoThatShare();
  const known = one.active();
  await set(one, { name: "www" });
  await look(two);
  expect(two.phase).toBe("stale");
  await two.recover(recovery(known));
  expect(two.phase).toBe("active");
  expect(two.active().manifestDigest).toBe(one.known?.manifestDigest);
  expect(await look(one)).toBe("moved");
});

/** Both have the same in force. */
async function twoThatShare(): Promise<[StateGuard, StateGuard]> {
  const one = await load();
  await set(one);
  const two = await load();
  await two.adopt(one.handOver(), peer);
  expect(two.active().authority.meshCa).toBe(one.active().authority.meshCa);
  return [one, two];
}

function fail(): never {
  throw new Error("there is none");
}
