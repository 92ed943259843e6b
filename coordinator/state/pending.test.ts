import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { type KeyPair, spkiDigest } from "../../pki/keys.ts";
import {
  changeAfter,
  manifestOf,
  now,
  policy,
  recoverRequest,
  seedshareOwners,
  setRequest,
  signedBy,
  type TestState,
  makeState,
} from "../test-deployment.ts";
import type { AmendResult } from "./amend.ts";
import { encodeConsent, parseConsent } from "./consent.ts";
import { PENDING_LIMITS, type PendingChange } from "./pending.ts";
import { PendingChanges } from "./pending-changes.ts";
import { leavePending, makeChange, type SetRequest, type SetResult } from "./set.ts";
import type { StateGuard } from "./state-guard.ts";
import { HostileStore } from "./test-hostile-host.ts";

/** Changes that wait for owners' signatures, on a real store, and what a host and an owner can do about them. */

const [ada, ben, eve, stranger] = ["P-256", "P-384", "P-521", "P-256"].map((namedCurve): KeyPair =>
  generateKeyPairSync("ec", { namedCurve }),
) as [KeyPair, KeyPair, KeyPair, KeyPair];
const keyOf = ({ publicKey }: KeyPair): string => toHex(spkiDigest(publicKey));
const owners = [ada, ben, eve].map(keyOf);

const quorum = (names: readonly string[], threshold = 2): Buffer =>
  manifestOf({ owners, ownerThreshold: threshold, names });
const next = quorum(["next"]);
const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

let state: TestState;
let guard: StateGuard;
let pending: PendingChanges;

async function begin(): Promise<void> {
  guard = await state.load();
  await guard.set(setRequest({ manifest: quorum(["web"]) }));
  pending = changesOf(guard);
}

function changesOf(of: StateGuard): PendingChanges {
  return new PendingChanges(of, state.store(), { requireRoomFor: async () => undefined });
}

beforeEach(async () => {
  state = await makeState();
  await begin();
});
afterEach(() => state.remove());

function requestBy(pairs: readonly KeyPair[], manifest = next, of = guard): SetRequest {
  const change = changeAfter(of.active(), manifest);
  return {
    ...setRequest({ manifest }),
    callerKey: keyOf(stranger),
    signatures: pairs.map((pair) => signedBy(pair, change)),
    signedMeshKey: change.meshKey,
  };
}

const propose = (pairs: readonly KeyPair[], manifest = next): Promise<SetResult | { pending: PendingChange }> =>
  guard.propose(requestBy(pairs, manifest));

/** As an owner does who has the manifest at hand and not the files of the deployment. */
function sign(pair: KeyPair, manifest = next) {
  const change = changeAfter(guard.active(), manifest);
  return pending.sign({
    subject: digestOf(manifest),
    latestTransition: undefined,
    callerKey: keyOf(pair),
    signature: signedBy(pair, change),
    revoke: false,
    signedMeshKey: change.meshKey,
  });
}

const signers = (result: SetResult | AmendResult | { pending: PendingChange }): unknown =>
  "pending" in result ? { waits: result.pending.owners, missing: result.pending.missing } : { set: result.owners };

const options = () => ({ store: state.store(), allowInsecure: true, now, random: randomBytes });

test("the owner who is still missing performs the change, with the signatures of all", async () => {
  expect(signers(await propose([ada]))).toEqual({ waits: [keyOf(ada)], missing: 1 });
  expect(guard.active().generation).toBe(1);
  expect(await pending.list(keyOf(ben))).toMatchObject([{ manifest: digestOf(next), missing: 1 }]);
  expect(signers(await sign(ben))).toEqual({ set: [keyOf(ben), keyOf(ada)] });
  expect(guard.active()).toMatchObject({ generation: 2, manifestDigest: digestOf(next) });
  const { steps } = await guard.history();
  expect(steps.at(-1)?.transition.signatures).toHaveLength(2);
  expect(await pending.list(keyOf(ben))).toEqual([]);
});

test("a set by the second owner finds the consent of the first, and one without leave to wait is refused", async () => {
  await expect(guard.set(requestBy([ada]))).rejects.toMatchObject({ code: "too_few_signatures" });
  expect(await pending.list(keyOf(ada))).toEqual([]);
  await propose([ada]);
  await expect(guard.set(requestBy([ada]))).rejects.toMatchObject({ code: "too_few_signatures" });
  await guard.set(requestBy([ben]));
  expect(guard.active().generation).toBe(2);
});

test("one owner alone performs nothing, however often", async () => {
  for (let round = 0; round < 3; round++) {
    expect(signers(await propose([ada, ada]))).toEqual({ waits: [keyOf(ada)], missing: 1 });
    expect(signers(await sign(ada))).toEqual({ waits: [keyOf(ada)], missing: 1 });
  }
  expect(await state.store().list("consents")).toHaveLength(1);
  expect(guard.active().generation).toBe(1);
});

/** Both have the snapshot that is in force, as peers have; neither has spoken with the other about the change. */
test("two Coordinators on one store: one owner at one, another at the other", async () => {
  await propose([ada]);
  const before = guard.active();
  const result = await makeChange(before, requestBy([ben]), options());
  expect(result.owners).toEqual([keyOf(ben), keyOf(ada)]);
  // The first does not set it a second time: the pointer moved on.
  await expect(guard.set(requestBy([eve, ben]))).rejects.toMatchObject({ code: "conflict" });
});

test("a change that could not be set is not left pending either", async () => {
  const refused = async (request: SetRequest, code: string): Promise<void> => {
    await expect(guard.propose(request)).rejects.toMatchObject({ code });
  };
  await refused(requestBy([]), "not_owner");
  await refused({ ...requestBy([]), callerKey: keyOf(ada) }, "signature_missing");
  await refused(requestBy([stranger]), "not_owner");
  await refused(requestBy([ada, stranger]), "not_owner");
  await refused({ ...requestBy([ada]), latestTransition: Buffer.alloc(32, 1) }, "conflict");
  await refused({ ...requestBy([ada]), policies: [] }, "policy_mismatch");
  await refused(requestBy([ada], Buffer.from("{}")), "invalid_manifest");
  expect(await state.store().list("consents")).toEqual([]);
});

test("a threshold counts from the change after the one that makes it, and it takes the old one to lower it", async () => {
  const lower = quorum(["lower"], 1);
  expect(signers(await propose([ada], lower))).toMatchObject({ missing: 1 });
  await sign(eve, lower);
  expect(guard.active().manifest.workloadOwnerThreshold).toBe(1);
  await guard.set(requestBy([ben], quorum(["raise"], 3)));
  await expect(guard.set(requestBy([ada, ben]))).rejects.toMatchObject({ code: "too_few_signatures" });
  await guard.set(requestBy([ada, ben, eve]));
  expect(guard.active().generation).toBe(4);
});

test("an owner whom a set removes counts for nothing any more, and neither does what that owner signed before", async () => {
  await propose([eve], quorum(["by-eve"]));
  const without = manifestOf({ owners: owners.slice(0, 2), ownerThreshold: 2 });
  await guard.set(requestBy([ada, ben], without));
  await expect(propose([eve])).rejects.toMatchObject({ code: "not_owner" });
  await expect(propose([ada, eve])).rejects.toMatchObject({ code: "not_owner" });
  await expect(pending.list(keyOf(eve))).rejects.toMatchObject({ code: "not_owner" });
  expect(await pending.list(keyOf(ada))).toEqual([]);
});

test("only owners see what is pending, and only an owner's signature adds to it", async () => {
  await propose([ada]);
  for (const keys of [stranger, seedshareOwners[0] ?? stranger]) {
    await expect(pending.list(keyOf(keys))).rejects.toMatchObject({ code: "not_owner" });
    await expect(pending.read(keyOf(keys), digestOf(next), 0)).rejects.toMatchObject({ code: "not_owner" });
    await expect(pending.drop(keyOf(keys), digestOf(next))).rejects.toMatchObject({ code: "not_owner" });
  }
  await expect(sign(stranger)).rejects.toMatchObject({ code: "not_owner" });
  expect(await pending.read(keyOf(ben), digestOf(next), 0)).toEqual({ manifest: next, policies: [policy] });
  expect(await pending.read(keyOf(ben), digestOf(next), 1)).toEqual({ manifest: Buffer.alloc(0), policies: [] });
});

test("what is not pending can't be read or signed, though the store has it", async () => {
  const inForce = guard.active().manifestDigest;
  await expect(pending.read(keyOf(ada), inForce, 0)).rejects.toMatchObject({ code: "not_pending" });
  await expect(sign(ada, quorum(["web"]))).rejects.toMatchObject({ code: "not_pending" });
  await expect(sign(ada, quorum(["never-seen"]))).rejects.toMatchObject({ code: "not_pending" });
});

test("an owner takes back the own signature, and nobody another's", async () => {
  await begin3();
  await propose([ada, ben]);
  await expect(pending.drop(keyOf(eve), digestOf(next))).rejects.toMatchObject({ code: "not_pending" });
  expect(await pending.drop(keyOf(ada), digestOf(next))).toMatchObject({ owners: [keyOf(ben)], missing: 2 });
  expect(signers(await sign(eve))).toMatchObject({ missing: 1 });
  await pending.drop(keyOf(ben), digestOf(next));
  await pending.drop(keyOf(eve), digestOf(next));
  expect(await pending.list(keyOf(ada))).toEqual([]);
});

/** Three of three. */
async function begin3(): Promise<void> {
  await guard.set(requestBy([ada, ben], quorum(["three"], 3)));
}

test("a set and a recovery end what was pending, and a consent to it can't be used again", async () => {
  await propose([ada]);
  const [record = ""] = await state.store().list("consents");
  const bytes = await state.store().get("consents", record);
  await guard.set(requestBy([ada, ben], quorum(["other"])));
  await pending.tidy();
  expect(await state.store().list("consents")).toEqual([]);
  // The host brings it back.
  await state.store().put("consents", bytes);
  expect(await pending.list(keyOf(ada))).toEqual([]);
  await expect(guard.set(requestBy([ben]))).rejects.toMatchObject({ code: "too_few_signatures" });
  await expect(sign(ben)).rejects.toMatchObject({ code: "not_pending" });

  await propose([ada]);
  const known = guard.active();
  guard = await state.load();
  pending = changesOf(guard);
  await expect(pending.list(keyOf(ada))).rejects.toMatchObject({ code: "needs_recovery" });
  await guard.recover(recoverRequest(known));
  expect(await pending.list(keyOf(ada))).toEqual([]);
  await expect(guard.set(requestBy([ben]))).rejects.toMatchObject({ code: "too_few_signatures" });
});

test("a consent for another deployment, or one whose name was changed, adds nothing", async () => {
  const other = await makeState();
  try {
    const there = await other.load();
    await there.set(setRequest({ manifest: quorum(["web"]) }));
    await there.propose(requestBy([ada], next, there));
    const [theirs = ""] = await other.store().list("consents");
    const consent = parseConsent(await other.store().get("consents", theirs));
    const here = changeAfter(guard.active(), next);
    const place = { previous: toHex(Buffer.from(here.previous)), meshKey: toHex(here.meshKey) };
    // As it is, and with the place in this history that the signature is not over.
    for (const made of [consent, { ...consent, ...place }, { ...consent, ...place, meshKey: consent.meshKey }]) {
      await state.store().put("consents", encodeConsent(made));
    }
  } finally {
    await other.remove();
  }
  expect(await state.store().list("consents")).toHaveLength(3);
  expect(await pending.list(keyOf(ben))).toEqual([]);
  await expect(guard.set(requestBy([ben]))).rejects.toMatchObject({ code: "too_few_signatures" });
});

test("a host that repeats, renames, damages and adds records makes no second owner of one", async () => {
  await propose([ada]);
  const [record = ""] = await state.store().list("consents");
  const consent = parseConsent(await state.store().get("consents", record));
  const host = new HostileStore(state.directory);
  // The size is not signed: the same signature, in many records.
  for (let size = 0; size < 20; size++) await host.put("consents", encodeConsent({ ...consent, size }));
  // Another owner's name over the same signature, another's signature over the same name, and no consent at all.
  await host.put(
    "consents",
    encodeConsent({ ...consent, publicKey: signedBy(ben, changeAfter(guard.active(), next)).publicKey }),
  );
  await host.put("consents", encodeConsent({ ...consent, ...signedBy(stranger, changeAfter(guard.active(), next)) }));
  await host.put("consents", encodeConsent({ ...consent, manifest: digestOf(quorum(["evil"])) }));
  await host.put("consents", randomBytes(300));
  expect(await pending.list(keyOf(ada))).toMatchObject([{ owners: [keyOf(ada)], missing: 1 }]);
  await expect(guard.set(requestBy([ada]))).rejects.toMatchObject({ code: "too_few_signatures" });
  // Taking it back removes all of them.
  expect(await pending.drop(keyOf(ada), digestOf(next))).toMatchObject({ owners: [] });
  expect(await pending.list(keyOf(ada))).toEqual([]);
});

test("a host that hides a consent or the manifest makes it wait, and nothing else", async () => {
  await propose([ada]);
  const [record = ""] = await state.store().list("consents");
  const bytes = await state.store().get("consents", record);
  await state.store().remove("consents", record);
  expect(await pending.list(keyOf(ben))).toEqual([]);
  expect(signers(await propose([ben]))).toMatchObject({ waits: [keyOf(ben)] });
  await state.store().put("consents", bytes);
  await state.store().remove("manifests", digestOf(next));
  await expect(sign(eve)).rejects.toMatchObject({ code: "damaged_state" });
  expect(guard.active().generation).toBe(1);
  // Whoever has the manifest and its policies goes on without the host's.
  expect(signers(await propose([eve]))).toMatchObject({ set: expect.arrayContaining(owners.slice(0, 2)) as unknown });
});

test("an owner can't fill the store, nor keep another from proposing", async () => {
  const { changes } = PENDING_LIMITS.owner;
  for (let index = 0; index < changes; index++) await propose([ada], quorum([`change-${index}`]));
  const full = propose([ada], quorum(["one-more"]));
  await expect(full).rejects.toMatchObject({
    code: "too_many_pending",
    where: expect.stringContaining(keyOf(ada)) as unknown,
  });
  expect(readdirSync(join(state.directory, "consents"))).toHaveLength(changes);
  // The same ones can be signed again, and others are not in the way.
  await propose([ada], quorum(["change-0"]));
  await propose([ben], quorum(["by-ben"]));
  await pending.drop(keyOf(ada), digestOf(quorum(["change-3"])));
  await propose([ada], quorum(["one-more"]));
  expect(await pending.list(keyOf(eve))).toHaveLength(changes + 1);
});

test("what is pending is bounded by bytes, too", async () => {
  await propose([ada]);
  const [record = ""] = await state.store().list("consents");
  const consent = parseConsent(await state.store().get("consents", record));
  const large = { ...consent, size: PENDING_LIMITS.owner.bytes };
  await state.store().remove("consents", record);
  await state.store().put("consents", encodeConsent(large));
  await expect(propose([ada], quorum(["second"]))).rejects.toMatchObject({ code: "too_many_pending" });
  await propose([ben], quorum(["second"]));
});

test("nothing is kept of a change that needs no more owners", async () => {
  expect(await leavePending(guard.active(), requestBy([ada, ben]), options())).toBeUndefined();
  await guard.propose(requestBy([ada, ben]));
  expect(guard.active().generation).toBe(2);
  expect(await state.store().list("consents")).toEqual([]);
});

/** Nobody signs it, for it only takes trust away: who wants it says so once, and whoever completes the change need not know. */
test("a change that one owner proposed to revoke what was before does so, whoever signs it last", async () => {
  const windowed = (...names: readonly string[]): Buffer => {
    const manifest = JSON.parse(quorum(["web", ...names]).toString()) as object;
    return Buffer.from(JSON.stringify({ ...manifest, MeshCAOverlap: "1h" }));
  };
  await guard.set(requestBy([ada, ben], windowed("one")));
  await propose([ada], windowed("one", "two"));
  await sign(ben, windowed("one", "two"));
  expect(guard.active().previousMeshes).not.toEqual([]);
  await propose([ada], windowed("one", "two", "three"));
  // She thinks of it later, and signs once more.
  const again = await guard.propose({ ...requestBy([ada], windowed("one", "two", "three")), revoke: true });
  expect(again).toMatchObject({ pending: { owners: [keyOf(ada)], missing: 1, revoke: true } });
  await sign(ben, windowed("one", "two", "three"));
  expect(guard.active().previousMeshes).toEqual([]);
});
