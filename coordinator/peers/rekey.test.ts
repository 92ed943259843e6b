import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { sha256Hex } from "../../bytes/sha256.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { handoverOf } from "../state/handover.ts";
import type { Snapshot } from "../state/snapshot.ts";
import { encodeTransition, parseTransition } from "../../manifest/transition.ts";
import { provesRekey } from "../state/rekey-proof.ts";
import { changeAfter, recoverRequest, signedBy } from "../test-deployment.ts";
import { SharedBacking } from "../state/test-shared-store.ts";
import {
  COORDINATOR,
  type CoordinatorChanges,
  makeDeployment,
  manifestFor,
  startCoordinator,
  type TestCoordinator,
  type TestDeployment,
  until,
} from "./test-coordinator.ts";

/** A rekey among Coordinators that share a store: who has the new seed then, and who takes none of the old any more. */

const ADDRESSES = ["127.44.1.1", "127.44.1.2"];

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

async function start(index: number, changes: CoordinatorChanges = {}): Promise<TestCoordinator> {
  const peers = ADDRESSES.filter((_, other) => other !== index);
  const options = { peers, ...changes };
  const coordinator = await startCoordinator(deployment, backing.open(), ADDRESSES[index] ?? "", options);
  running.push(coordinator);
  return coordinator;
}

const isActive = ({ guard }: TestCoordinator): boolean => guard.phase === "active";
const rootKey = ({ seed }: Snapshot): string => toHex(spkiDigest(seed.rootKey.publicKey));

async function rekey({ guard }: TestCoordinator, prepared = guard.prepareRekey()): Promise<Snapshot> {
  const { manifest, policies } = manifestFor(deployment);
  const newRootKey = spkiDigest(prepared.engine.rootKey.publicKey);
  const change = { ...changeAfter(guard.active(), manifest), newRootKey };
  const request = {
    manifest,
    policies,
    latestTransition: undefined,
    callerKey: "",
    signatures: [signedBy(deployment.ownerKeys, change)],
    signedMeshKey: change.meshKey,
    newRootKey,
    revoke: false,
  };
  return (await guard.set(request)).snapshot;
}

test("the others get the new seed from the one that rekeyed, and can open what it sealed", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  const before = two.guard.active();
  const after = await rekey(one);
  await until(() => isActive(two) && two.guard.active() !== before);
  const theirs = two.guard.active();
  expect(rootKey(theirs)).toBe(rootKey(after));
  expect(rootKey(theirs)).not.toBe(rootKey(before));
  expect(theirs.authority.meshCa).toBe(after.authority.meshCa);
  expect(theirs.seedShares).toEqual(after.seedShares);
  expect(theirs.seedShares.secretVersion).toBe(2);

  // The prepared seed is where it was prepared, and nowhere else.
  const prepared = one.guard.prepareRekey();
  await expect(rekey(two, prepared)).rejects.toMatchObject({ code: "rekey_not_prepared" });
  await two.set();
  await until(() => isActive(one) && one.guard.active().generation === 3);
  expect(rootKey(one.guard.active())).toBe(rootKey(after));
});

test("who missed a rekey takes nothing over, and is recovered with the new shares", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  const before = two.guard.active();
  two.peers?.stop();
  await two.server.close(0);
  const after = await rekey(one);
  running.splice(running.indexOf(one), 1);
  await one.kill();

  await two.guard.observe(backing.pointer, performance.now());
  expect(two.guard.phase).toBe("stale");
  expect(() => two.guard.active()).toThrow(expect.objectContaining({ code: "stale_state" }));
  const ownPolicy = sha256Hex(COORDINATOR);
  await expect(two.guard.takeOver(ownPolicy)).rejects.toMatchObject({ code: "wrong_seed" });
  const [old, fresh] = [before, after].map((known) => recoverRequest(known, deployment.seedshareOwner));
  if (old === undefined || fresh === undefined) throw new Error("no requests");
  // With a threshold of 1 the old share is the old seed.
  await expect(two.guard.recover(old)).rejects.toMatchObject({ code: "wrong_seed" });
  expect(two.guard.phase).toBe("stale");
  await two.guard.recover({ ...fresh, pins: old.pins });
  expect(rootKey(two.guard.active())).toBe(rootKey(after));
});

test("a peer that missed the rekey has nothing to give to those that know it", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  const old = handoverOf(two.guard.active());
  two.peers?.stop();
  await two.server.close(0);
  const pointer = backing.pointer;
  await rekey(one);
  // The host puts back the pointer that the old seed has signed.
  backing.move(pointer);
  await one.guard.observe(pointer, performance.now());
  expect(one.guard.phase).not.toBe("active");
  // Whoever gives it: it is not asked.
  await expect(one.guard.adopt(old, undefined as never)).rejects.toMatchObject({ code: "history_forked" });
  expect(() => one.guard.active()).toThrow();
});

test("a store that hides a rekey from one does not keep it serving by the seed of before", async () => {
  const [one, two] = [await start(0), await start(1)];
  await one.set();
  await until(() => isActive(two));
  two.store.backing = backing.fork();
  await rekey(one);
  await until(() => two.guard.phase === "stale");
  // For good, whatever it is shown.
  const pointer = two.guard.known?.latest.raw;
  await two.guard.observe(pointer, performance.now());
  expect(() => two.guard.active()).toThrow(expect.objectContaining({ code: "stale_state" }));
  // Of what the owners have not signed it takes no notice.
  await one.guard.hear({ pointer: one.guard.active().latest.raw, fork: [], rekey: Buffer.from("made up") }, "a peer");
  expect(one.guard.phase).toBe("active");
});

test("only the rekey that follows what is in force, signed by its owners, replaces a seed", async () => {
  const one = await start(0, { peers: [] });
  await one.set();
  const before = one.guard.active();
  const { rekey: record } = await rekey(one);
  if (record === undefined) throw new Error("no rekey");
  expect(provesRekey(record, before)).toBe(true);
  expect(provesRekey(record, one.guard.active())).toBe(false);
  const fields = parseTransition(record);
  const made = (changes: object): Uint8Array => encodeTransition({ ...fields, ...changes });
  expect(provesRekey(made({}), before)).toBe(true);
  expect(provesRekey(made({ rootKey: "ab".repeat(32) }), before)).toBe(false);
  expect(provesRekey(made({ manifest: "ab".repeat(32) }), before)).toBe(false);
  expect(provesRekey(made({ previous: "ab".repeat(32) }), before)).toBe(false);
  expect(provesRekey(made({ rootKey: rootKey(before) }), before)).toBe(false);
  expect(provesRekey(record.subarray(1), before)).toBe(false);
});
