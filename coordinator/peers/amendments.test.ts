import { createHash, randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { VerifiedClaimant } from "../../manifest/appraise.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { annexOf } from "../state/annex-in-force.ts";
import { signLatest } from "../state/pointer.ts";
import { StateGuard } from "../state/state-guard.ts";
import { amend, amendRequest, served, withGrant, withSecret } from "../state/test-amend.ts";
import { SharedBacking, type SharedStore } from "../state/test-shared-store.ts";
import { changeAfter, recoverRequest, signedBy } from "../test-deployment.ts";
import {
  COORDINATOR,
  makeDeployment,
  type ManifestChanges,
  setRequest,
  startCoordinator,
  type TestCoordinator,
  type TestDeployment,
  until,
  verifiedCoordinator,
} from "./test-coordinator.ts";

/** Amendments where several Coordinators share a store: all follow, and none needs anything new. */

let deployment: TestDeployment;
let peer: VerifiedClaimant;
let backing: SharedBacking;
let clock: number;
const running: TestCoordinator[] = [];

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

afterEach(async () => {
  for (const coordinator of running.splice(0)) await coordinator.kill();
});

async function load(store: SharedStore = backing.open()): Promise<StateGuard> {
  const sharing = { monotonic: () => clock, hold: false };
  return StateGuard.load({ store, allowInsecure: true, now, random: randomBytes, sharing });
}

const look = (guard: StateGuard) => guard.observe(backing.pointer, clock);
const set = (guard: StateGuard, changes: ManifestChanges = {}) => guard.set(setRequest(deployment, guard, changes));
const owners = () => [deployment.ownerKeys];

async function twoThatShare(stores: readonly SharedStore[] = []): Promise<[StateGuard, StateGuard]> {
  const one = await load(stores[0]);
  await set(one);
  const two = await load(stores[1]);
  await two.adopt(one.handOver(), peer);
  return [one, two];
}

const rest = ({ latest: _latest, annex: _annex, unsigned: _unsigned, ...same }: ReturnType<StateGuard["active"]>) =>
  same;

test("another's amendment is followed without a peer, with the very same mesh CA", async () => {
  const [one, two] = await twoThatShare();
  const before = two.active();
  await amend(one, await withSecret(one, "db", "hunter2"), owners());
  await amend(one, withGrant(one, "web", "data"), owners());
  expect(await look(two)).toBe("moved");
  expect(() => two.active()).toThrow(expect.objectContaining({ code: "stale_state" }));
  await two.follow();
  const after = two.active();
  for (const [key, value] of Object.entries(rest(after))) {
    expect(value, key).toBe((rest(before) as Record<string, unknown>)[key]);
  }
  expect(after.latest.digest).toBe(one.active().latest.digest);
  expect(after.annex).toEqual(one.active().annex);
  expect(await served(two)).toEqual({ "db@1": "hunter2" });
  expect(await two.follow()).toBeUndefined();
  // And back: the one that followed amends, and the first follows.
  await amend(two, await withSecret(two, "db", "hunter3"), owners());
  await look(one);
  await one.follow();
  expect(await served(one)).toEqual({ "db@2": "hunter3", "db@1": "hunter2" });
});

test("what is more than an amendment is not followed: a set, a recovery, and an amendment after either", async () => {
  const [one, two] = await twoThatShare();
  await set(one, { name: "www" });
  await look(two);
  expect(await two.follow()).toBeUndefined();
  await amend(one, await withSecret(one, "db"), owners());
  await look(two);
  expect(await two.follow()).toBeUndefined();
  expect(two.phase).toBe("stale");
  await two.adopt(one.handOver(), peer);
  expect(await served(two)).toEqual({ "db@1": "db, version 1" });
  expect(two.active()).toMatchObject({ generation: 2 });

  const third = await load();
  await third.recover(recoverRequest(two.active(), deployment.seedshareOwner));
  await amend(third, withGrant(third, "web", "data"), owners());
  await look(two);
  expect(await two.follow()).toBeUndefined();
  // Nobody has the mesh CA of the third: then a new one is made, with the annex of the third.
  const taken = await two.takeOver(OWN_POLICY);
  expect(taken?.annex?.digest).toBe(third.known?.annex?.digest);
  expect(taken?.generation).toBe(2);
});

test("of two Coordinators that use one leave at once, exactly one wins", async () => {
  const [one, two] = await twoThatShare();
  await amend(one, withGrant(one, "web", "data"), owners());
  await look(two);
  await two.follow();
  const grant = { workload: "web", volume: "data" };
  const uses = await Promise.allSettled([one.useFormatGrant(() => grant), two.useFormatGrant(() => grant)]);
  expect(uses.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect(uses.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "no_format_grant" } });
  for (const guard of [one, two]) {
    await look(guard);
    await guard.follow();
    expect(annexOf(guard.active()).volumes.get("web")?.get("data")).toEqual({ allowed: 1, used: 1 });
  }
});

test("of as many leaves as Coordinators, each gets one, whoever is quicker", async () => {
  const [one, two] = await twoThatShare();
  await amend(one, withGrant(one, "web", "data", 6), owners());
  await look(two);
  await two.follow();
  const grant = { workload: "web", volume: "data" };
  const uses = await Promise.allSettled(
    [one, two, one, two, one, two].map((guard) => guard.useFormatGrant(() => grant)),
  );
  expect(uses.map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => "fulfilled"));
  await expect(one.useFormatGrant(() => grant)).rejects.toMatchObject({
    code: "no_format_grant",
    got: "6 allowed, 6 used",
  });
});

test("an amendment that meets another's is a conflict, and nothing of it is in force", async () => {
  const [one, two] = await twoThatShare();
  const request = amendRequest(two, await withSecret(two, "db", "theirs"), owners());
  await amend(one, await withSecret(one, "db", "ours"), owners());
  await expect(two.amend(request, false)).rejects.toMatchObject({ code: "conflict" });
  await look(two);
  await expect(two.amend(request, false)).rejects.toMatchObject({ code: "conflict" });
  await two.follow();
  expect(await served(two)).toEqual({ "db@1": "ours" });
});

test("where the store hides the annex, or shows another, nobody follows, takes over or recovers", async () => {
  const [one, two] = await twoThatShare();
  const { snapshot } = await amend(one, await withSecret(one, "db"), owners());
  const record = `annexes/${snapshot.annex?.digest}`;
  const bytes = backing.records.get(record) ?? Buffer.alloc(0);
  const known = one.active();
  await look(two);
  for (const damage of [
    () => backing.records.delete(record),
    () => backing.records.set(record, Buffer.from('{"Secrets":{},"Volumes":{}}')),
    () => backing.records.set(record, Buffer.from(bytes.toString().replace("workload:web", "workload:eve"))),
  ]) {
    damage();
    const attempts = [
      two.follow(),
      two.adopt(one.handOver(), peer),
      two.takeOver(OWN_POLICY),
      (await load()).recover(recoverRequest(known, deployment.seedshareOwner)),
    ];
    for (const attempt of attempts) await expect(attempt).rejects.toMatchObject({ code: "damaged_state" });
  }
  backing.records.set(record, bytes);
  await two.follow();
  expect(two.phase).toBe("active");
});

test("a later pointer that a peer has shown is waited for, and one that was rolled back is not followed", async () => {
  const [one, two] = await twoThatShare();
  await amend(one, await withSecret(one, "db", "one"), owners());
  const between = backing.pointer;
  await amend(one, await withSecret(one, "db", "two"), owners());
  await two.hear({ pointer: one.active().latest.raw, fork: [] }, "peer");
  const latest = backing.pointer;
  backing.pointer = between;
  expect(await two.follow()).toBeUndefined();
  expect(two.phase).toBe("stale");
  backing.pointer = latest;
  await two.follow();
  expect(await served(two)).toMatchObject({ "db@2": "two" });
  // The host shows the secrets of before to one that knows better: they are not served, and amending is refused.
  backing.pointer = between;
  expect(await look(two)).toBe("rolled_back");
  expect(await served(two)).toMatchObject({ "db@2": "two" });
  await expect(amend(two, withGrant(two, "web", "data"), owners())).rejects.toMatchObject({
    code: "state_rolled_back",
  });
  await expect(two.useFormatGrant(() => ({ workload: "web", volume: "data" }))).rejects.toMatchObject({
    code: "state_rolled_back",
  });
});

test("who has learned that owners replaced the seed follows nothing that the old one signed", async () => {
  const [one, two] = await twoThatShare();
  await amend(one, withGrant(one, "web", "data", 2), owners());
  await look(two);
  await two.follow();
  const old = two.active();
  const before = backing.pointer;
  // Whoever has the old seed goes on with it: a leave is used, which nobody signs.
  const forged = await load();
  await forged.adopt(two.handOver(), peer);
  const newRootKey = spkiDigest(one.prepareRekey().engine.rootKey.publicKey);
  const request = setRequest(deployment, one);
  const change = { ...changeAfter(one.active(), request.manifest), newRootKey };
  const { record } = await one.set({ ...request, newRootKey, signatures: [signedBy(deployment.ownerKeys, change)] });
  backing.pointer = before;
  await forged.useFormatGrant(() => ({ workload: "web", volume: "data" }));
  // First it is led on; then the proof of the rekey reaches it all the same.
  await look(two);
  await two.follow();
  expect(two.active().latest.transition).not.toBe(old.latest.transition);
  const told = { pointer: two.active().latest.raw, fork: [], rekey: record };
  await two.hear(told, "peer");
  expect(two.phase).toBe("stale");
  await forged.useFormatGrant(() => ({ workload: "web", volume: "data" }));
  await look(two);
  expect(await two.follow()).toBeUndefined();
  expect(two.phase).toBe("stale");
});

test("a pointer to another mesh CA with an amendment is followed by nobody", async () => {
  const [one, two] = await twoThatShare();
  const { snapshot } = await amend(one, await withSecret(one, "db"), owners());
  const { latest, seed } = snapshot;
  const target = { transition: latest.transition, meshKey: "ee".repeat(32) };
  const moved = signLatest(latest, target, seed.historyKey.privateKey);
  backing.records.set(`pointers/${moved.digest}`, moved.raw);
  backing.pointer = moved.raw;
  await look(two);
  expect(await two.follow()).toBeUndefined();
  expect(two.phase).toBe("stale");
});

/** Over real connections. */
const ADDRESSES = ["127.41.21.1", "127.41.21.2"];

async function start(index: number): Promise<TestCoordinator> {
  const peers = ADDRESSES.filter((_, other) => other !== index);
  const coordinator = await startCoordinator(deployment, backing.open(), ADDRESSES[index] ?? "", { peers });
  running.push(coordinator);
  return coordinator;
}

test("running Coordinators follow an amendment with no secret handed over, and a killed one comes back with it", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => two.guard.phase === "active");
  const given = (): number => one.events.filter(({ event }) => event === "peer_recovery_given").length;
  const { authority } = two.guard.active();
  const before = given();
  await amend(one.guard, await withSecret(one.guard, "db", "hunter2"), owners());
  await until(() => two.guard.phase === "active" && two.guard.active().annex !== undefined);
  expect(two.guard.active().authority).toBe(authority);
  expect(given()).toBe(before);
  expect(await served(two.guard)).toEqual({ "db@1": "hunter2" });

  running.splice(running.indexOf(two), 1);
  await two.kill();
  const again = await start(1);
  await until(() => again.guard.phase === "active");
  expect(again.guard.active().authority.meshCa).toBe(authority.meshCa);
  expect(again.guard.active().generation).toBe(1);
  expect(await served(again.guard)).toEqual({ "db@1": "hunter2" });
});

test("the maker of an amendment is killed at once: the other goes on, and nobody makes a new mesh CA", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => two.guard.phase === "active");
  const { meshCa } = two.guard.active().authority;
  const annex = withGrant(one.guard, "web", "data");
  const request = amendRequest(one.guard, annex, owners());
  const swap = one.store.compareAndSwapLatest.bind(one.store);
  one.store.compareAndSwapLatest = async (expected, next) => {
    await swap(expected, next);
    throw new Error("the power is off");
  };
  await expect(one.guard.amend(request, false)).rejects.toThrow("the power is off");
  running.splice(running.indexOf(one), 1);
  await one.kill();
  await until(() => two.guard.phase === "active" && two.guard.active().annex !== undefined);
  expect(two.guard.active().authority.meshCa).toBe(meshCa);
  expect(two.events.map(({ event }) => event)).not.toContain("taken_over");
});
