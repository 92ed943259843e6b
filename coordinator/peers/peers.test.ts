import { afterEach, beforeEach, expect, test } from "vitest";
import { SharedBacking, type SharedStore } from "../state/test-shared-store.ts";
import {
  type CoordinatorChanges,
  makeDeployment,
  startCoordinator,
  type TestCoordinator,
  type TestDeployment,
  until,
} from "./test-coordinator.ts";

/** Coordinators that share a store, over real connections, with the evidence of a software TEE. */

const ADDRESSES = ["127.42.1.1", "127.42.1.2", "127.42.1.3"];

let deployment: TestDeployment;
let backing: SharedBacking;
const running: TestCoordinator[] = [];

beforeEach(async () => {
  deployment = await makeDeployment();
  backing = new SharedBacking();
});

afterEach(async () => {
  for (const coordinator of running.splice(0)) await coordinator.kill();
  await deployment.remove();
});

async function start(index: number, changes: CoordinatorChanges = {}, store: SharedStore = backing.open()) {
  const peers = ADDRESSES.filter((_, other) => other !== index);
  const coordinator = await startCoordinator(deployment, store, ADDRESSES[index] ?? "", { peers, ...changes });
  running.push(coordinator);
  return coordinator;
}

async function kill(coordinator: TestCoordinator): Promise<void> {
  running.splice(running.indexOf(coordinator), 1);
  await coordinator.kill();
}

const inForce = ({ guard }: TestCoordinator) => {
  const { authority, manifestDigest, latest, seed } = guard.active();
  const secret = seed.workloadSecret("web").reveal().toString("hex");
  return { mesh: authority.meshCa, root: authority.rootCa, manifestDigest, pointer: latest.digest, secret };
};
const isActive = ({ guard }: TestCoordinator): boolean => guard.phase === "active";

test("what one sets, the others serve, with the same bytes of the mesh CA, and so again after the next set", async () => {
  const [one, two, three] = [await start(0), await start(1), await start(2)];
  await one.set();
  await until(() => isActive(two) && isActive(three));
  expect(inForce(two)).toEqual(inForce(one));
  expect(inForce(three)).toEqual(inForce(one));
  const before = inForce(one);
  await two.set({ name: "www" });
  await until(() => [one, three].every((other) => isActive(other) && inForce(other).mesh !== before.mesh));
  expect(inForce(one)).toEqual(inForce(two));
  expect(inForce(three)).toEqual(inForce(two));
  expect(inForce(one).secret).toBe(before.secret);
});

test("one that was killed comes back without owners, and both sides have an audit line of it", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  await kill(two);
  const again = await start(1);
  expect(again.guard.phase).not.toBe("empty");
  await until(() => isActive(again));
  expect(inForce(again)).toEqual(inForce(one));
  const { manifestDigest: manifest } = inForce(one);
  expect(again.events).toContainEqual(
    expect.objectContaining({ event: "peer_recovery_received", peer: "127.42.1.1:7777", manifest, generation: 1 }),
  );
  expect(one.events.filter(({ event }) => event === "peer_recovery_given")).toHaveLength(2);
});

test("of two sets at once, one wins and the other gets a conflict", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  const sets = await Promise.allSettled([one.set({ name: "a" }), two.set({ name: "b" })]);
  expect(sets.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect(sets.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "conflict" } });
  await until(() => isActive(one) && isActive(two) && inForce(one).pointer === inForce(two).pointer);
  expect(inForce(one)).toEqual(inForce(two));
});

test("a stale one serves nothing, by the first word of a peer, also where the store keeps silent", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  two.store.isUp = false;
  await one.set({ name: "www" });
  await until(() => two.guard.phase === "stale");
  expect(() => two.guard.active()).toThrow(expect.objectContaining({ code: "stale_state" }));
  await expect(two.set({ name: "other" })).rejects.toMatchObject({ code: "conflict" });
  two.store.isUp = true;
  await until(() => isActive(two));
  expect(inForce(two)).toEqual(inForce(one));
});

test(
  "where whoever set is gone before anybody had its mesh CA, one of the others makes a new one",
  { timeout: 30_000 },
  async () => {
    const [one, two, three] = [await start(0), await start(1), await start(2)];
    await one.set();
    await until(() => isActive(two) && isActive(three));
    const before = inForce(two);
    // It is killed by the swap itself.
    await one.server.close(0);
    one.peers?.stop();
    const set = one.set({ name: "www" });
    await until(() => two.guard.phase === "stale" && three.guard.phase === "stale");
    await until(() => isActive(two) && isActive(three) && inForce(two).pointer === inForce(three).pointer);
    await set;
    expect(inForce(two)).toEqual(inForce(three));
    expect(inForce(two).manifestDigest).not.toBe(before.manifestDigest);
    expect(inForce(two).secret).toBe(before.secret);
    // The line follows when the one that took over has heard that the other has it, too.
    const takeovers = () => [two, three].flatMap(({ events }) => events).filter(({ event }) => event === "taken_over");
    await until(() => takeovers().length > 0);
    expect(takeovers()).toHaveLength(1);
  },
);

test("connections that end by their age are made anew, and nobody is told", async () => {
  const [one, two] = [await start(0, { limits: { ageMs: 1500 } }), await start(1)];
  await one.set();
  const state = () => two.peers?.status().find(({ address }) => address === "127.42.1.1:7777")?.state;
  await until(() => state() === "active");
  for (let round = 0; round < 50; round++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(state()).toBe("active");
  }
  // The third is not there, and that is said.
  const faults = two.log.filter(({ msg }) => String(msg).includes("can't be asked"));
  expect(new Set(faults.map(({ peer }) => peer))).toEqual(new Set(["127.42.1.3:7777"]));
});

test("two that were recovered into different histories find out, and so does the third", async () => {
  const [one, two, three] = [await start(0), await start(1), await start(2)];
  await one.set();
  await until(() => isActive(two) && isActive(three));
  // A store that lies: each of the two sees a world of its own.
  two.store.backing = backing.fork();
  const sets = await Promise.allSettled([one.set({ name: "a" }), two.set({ name: "b" })]);
  expect(sets.some(({ status }) => status === "fulfilled")).toBe(true);
  await until(() => [one, two].every(({ guard }) => guard.phase === "forked"));
  expect(() => one.guard.active()).toThrow(expect.objectContaining({ code: "history_forked" }));
  await until(() => three.guard.phase === "forked");
});
