import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isEqual, toHex } from "../../bytes/encode.ts";
import { type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { encryptShare } from "../../pki/seed-share.ts";
import { Secret } from "../../runtime/secret.ts";
import { makeSeedShares, type SeedShares } from "./seed-shares.ts";
import { SeedEngine } from "./seed.ts";
import type { StateGuard } from "./state-guard.ts";
import type { RecoverRequest } from "./recover.ts";
import type { Snapshot } from "./snapshot.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  owner,
  ownerKeys,
  policy,
  recoverRequest,
  seedshareOwners,
  setRequest,
  shareOf,
  signedBy,
  type TestState,
} from "../test-deployment.ts";
import { HostileStore, makeUp, type MadeUpStep } from "./test-hostile-host.ts";

/**
 * A host that writes what it likes into the state, together with owners who tell it all they have: a seed share owner, or
 * whoever has the seed. They must neither choose the seed nor the manifest.
 */

const [alice, mallory, carol] = seedshareOwners as [KeyPair, KeyPair, KeyPair];
const TWO_OF_THREE = { seedshareOwners, threshold: 2 } as const;
const MANIFEST = manifestOf(TWO_OF_THREE);
const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

let states: TestState[];

beforeEach(() => {
  states = [];
});

afterEach(async () => {
  for (const state of states) await state.remove();
});

async function newState(): Promise<TestState> {
  const state = await makeState();
  states.push(state);
  return state;
}

/** The real deployment, two of three, and the pins that its owners have of it. */
async function deploy(): Promise<{ state: TestState; guard: StateGuard; known: Snapshot }> {
  const state = await newState();
  const guard = await state.load();
  return { state, guard, known: (await guard.set(setRequest(TWO_OF_THREE))).snapshot };
}

/** With one owner, who has the seed. */
async function deployAlone(): Promise<{ state: TestState; guard: StateGuard; known: Snapshot; seed: SeedEngine }> {
  const state = await newState();
  const guard = await state.load();
  const known = (await guard.set(setRequest())).snapshot;
  return { state, guard, known, seed: new SeedEngine(shareOf(known.seedShares, alice), known.seedShares.salt) };
}

async function madeUp(directory: string, seed: SeedEngine, step: MadeUpStep): Promise<RecoverRequest["pins"]> {
  const { transition } = await makeUp(new HostileStore(directory), seed, undefined, step);
  return { transition: Buffer.from(transition, "hex"), rootKey: spkiDigest(seed.rootKey.publicKey) };
}

/** The real seed shares, salt and digests included, but for one owner's, who has this one. */
function withShare(real: SeedShares, keys: KeyPair, share: Secret): SeedShares {
  const own = spki(keys.publicKey);
  const shares = real.shares.map((entry) =>
    isEqual(entry.publicKey, own)
      ? { publicKey: own, encryptedSeed: encryptShare(share, own), digest: sha256(share.reveal()) }
      : entry,
  );
  return { ...real, shares };
}

test.each<[string, (seed: Buffer, honest: Buffer) => Buffer]>([
  ["the seed at place 0", (seed) => Buffer.concat([seed, Buffer.of(0)])],
  ["the seed at the honest owner's place", (seed, honest) => Buffer.concat([seed, honest.subarray(32)])],
  ["the seed without a place", (seed) => seed],
  ["a byte too many", (seed) => Buffer.concat([seed, Buffer.of(1, 2)])],
  ["nothing", () => Buffer.alloc(0)],
])(
  "one of two owners and the host can't choose the seed: the share of the colluding one is %s",
  async (_name, shareOfMallory) => {
    const { known } = await deploy();
    const seed = new Secret(randomBytes(32));
    const honest = recoverRequest(known, alice);
    const share = new Secret(shareOfMallory(seed.reveal(), honest.share.reveal()));
    const state = await newState();
    const engine = new SeedEngine(seed, known.seedShares.salt);
    const seedShares = withShare(known.seedShares, mallory, share);
    const pins = await madeUp(state.directory, engine, { manifest: MANIFEST, policies: [policy], seedShares });

    for (const colludingFirst of [true, false]) {
      const guard = await state.load();
      const collude = (): Promise<unknown> =>
        guard.recover({ ...recoverRequest(known, mallory), share, pins }).catch((error: unknown) => error);
      if (colludingFirst) await collude();
      // The honest owner's own share, digest and salt are those of the record; what that owner knows is not in it.
      await expect(guard.recover(honest)).rejects.toMatchObject({ code: "pin_mismatch" });
      if (!colludingFirst) await collude();
      expect(guard.phase).toBe("recovery");
      expect(guard.missingShares ?? 2).toBeGreaterThan(0);
    }
  },
);

test("even with an owner who believes the made-up state, shares of place 0 and of one place make no seed", async () => {
  const { known } = await deploy();
  const seed = new Secret(randomBytes(32));
  const place = shareOf(known.seedShares, alice).reveal().subarray(32);
  for (const share of [Buffer.concat([seed.reveal(), Buffer.of(0)]), Buffer.concat([seed.reveal(), place])]) {
    const state = await newState();
    const engine = new SeedEngine(seed, known.seedShares.salt);
    const seedShares = withShare(known.seedShares, mallory, new Secret(share));
    const pins = await madeUp(state.directory, engine, { manifest: MANIFEST, policies: [policy], seedShares });
    const guard = await state.load();
    await guard.recover({ ...recoverRequest(known, alice), pins });
    const collusion = { ...recoverRequest(known, mallory), share: new Secret(share), pins };
    await expect(guard.recover(collusion)).rejects.toMatchObject({ code: "wrong_seed" });
    expect(guard.phase).toBe("recovery");
  }
});

test("a history that goes on from the real one with other seed shares or another root CA key is refused", async () => {
  const { state, known } = await deploy();
  const seed = new Secret(randomBytes(32));
  const share = new Secret(Buffer.concat([seed.reveal(), Buffer.of(9)]));
  const engine = new SeedEngine(seed, known.seedShares.salt);
  // As if a workload owner were in league with them as well.
  const manifest = manifestOf({ ...TWO_OF_THREE, names: ["evil"] });
  const change = changeAfter(known, manifest);
  const step: MadeUpStep = {
    manifest,
    policies: [policy],
    seedShares: known.seedShares,
    meshKey: toHex(change.meshKey),
    signatures: [signedBy(ownerKeys, change)],
    rootKey: toHex(spkiDigest(known.seed.rootKey.publicKey)),
  };
  for (const changes of [
    { seedShares: withShare(known.seedShares, mallory, share) },
    { rootKey: toHex(spkiDigest(engine.rootKey.publicKey)) },
  ]) {
    await makeUp(new HostileStore(state.directory), engine, known.latest, { ...step, ...changes });
    const guard = await state.load();
    await expect(guard.recover(recoverRequest(known, alice))).rejects.toMatchObject({ code: "damaged_state" });
    expect(guard.missingShares).toBeUndefined();
  }
  // With all of it right but the signature of the pointer, which needs the seed.
  await makeUp(new HostileStore(state.directory), engine, known.latest, step);
  const guard = await state.load();
  await guard.recover(recoverRequest(known, alice));
  await expect(guard.recover(recoverRequest(known, carol))).rejects.toMatchObject({ code: "wrong_seed" });
  expect(guard.phase).toBe("recovery");
  expect(guard.missingShares).toBeUndefined();
});

test("no share is taken from whoever pinned nothing, pinned in part, or pinned another root CA key", async () => {
  const { state, known } = await deploy();
  const guard = await state.load();
  const right = recoverRequest(known, alice);
  const none = Buffer.alloc(0);
  for (const pins of [
    { transition: none, rootKey: none },
    { ...right.pins, rootKey: none },
    { ...right.pins, transition: none },
    { ...right.pins, transition: Buffer.alloc(31) },
    { ...right.pins, rootKey: Buffer.alloc(33) },
  ]) {
    await expect(guard.recover({ ...right, pins })).rejects.toMatchObject({ code: "not_pinned" });
  }
  for (const pins of [
    { ...right.pins, rootKey: Buffer.alloc(32, 7) },
    { ...right.pins, transition: Buffer.alloc(32) },
    { ...right.pins, transition: Buffer.alloc(32, 7) },
    { transition: right.pins.rootKey, rootKey: right.pins.transition },
  ]) {
    await expect(guard.recover({ ...right, pins })).rejects.toMatchObject({ code: "pin_mismatch" });
  }
  expect(guard.missingShares).toBeUndefined();
  expect((await guard.recover(right)).missingShares).toBe(1);
});

test("nothing that a colluding owner sends keeps the others from recovering", async () => {
  const { state, known } = await deploy();
  const guard = await state.load();
  const right = recoverRequest(known, mallory);
  const bytes = right.share.reveal();
  const wrong: Partial<RecoverRequest>[] = [
    { share: new Secret(randomBytes(33)) },
    { share: new Secret(Buffer.concat([bytes.subarray(0, 32), Buffer.of(0)])) },
    { share: shareOf(known.seedShares, alice) },
    { share: new Secret(Buffer.alloc(0)) },
    { share: new Secret(Buffer.concat([bytes, Buffer.of(1)])) },
    { pins: { ...right.pins, rootKey: Buffer.alloc(32, 7) } },
    { pins: { ...right.pins, transition: Buffer.alloc(32, 7) } },
    { salt: randomBytes(32) },
  ];
  for (const change of wrong) await expect(guard.recover({ ...right, ...change })).rejects.toThrow();
  expect((await guard.recover(recoverRequest(known, alice))).missingShares).toBe(1);
  for (const change of wrong) await expect(guard.recover({ ...right, ...change })).rejects.toThrow();
  expect(guard.missingShares).toBe(1);
  expect((await guard.recover(recoverRequest(known, carol))).recovered?.snapshot.manifestDigest).toBe(
    known.manifestDigest,
  );
});

test("with a threshold of 1, too, the owner's pin decides: another seed is not taken for the owner's", async () => {
  const { known } = await deployAlone();
  const [seed, salt] = [new Secret(randomBytes(32)), known.seedShares.salt];
  const state = await newState();
  const engine = new SeedEngine(seed, salt);
  // seed-shares.json of the owner came from the host: the owner decrypts the host's seed from it.
  const seedShares = await makeSeedShares(seed, salt, [spki(alice.publicKey)], 1);
  await madeUp(state.directory, engine, { manifest: manifestOf(), policies: [policy], seedShares });
  const guard = await state.load();
  const deceived = { ...recoverRequest(known, alice), share: seed };
  await expect(guard.recover(deceived)).rejects.toMatchObject({ code: "pin_mismatch" });
  expect(guard.phase).toBe("recovery");
});

test("with a threshold of 1, a seed that does not give the pinned root CA key is refused after all else", async () => {
  const { known } = await deployAlone();
  const [seed, salt] = [new Secret(randomBytes(32)), known.seedShares.salt];
  const state = await newState();
  const engine = new SeedEngine(seed, salt);
  const seedShares = await makeSeedShares(seed, salt, [spki(alice.publicKey)], 1);
  const rootKey = spkiDigest(known.seed.rootKey.publicKey);
  const step = { manifest: manifestOf(), policies: [policy], seedShares, rootKey: toHex(rootKey) };
  const { transition } = await madeUp(state.directory, engine, step);
  const guard = await state.load();
  const collusion = { ...recoverRequest(known, alice), share: seed, pins: { transition, rootKey } };
  await expect(guard.recover(collusion)).rejects.toMatchObject({
    code: "pin_mismatch",
    got: toHex(spkiDigest(engine.rootKey.publicKey)),
    want: toHex(rootKey),
  });
  expect(guard.phase).toBe("recovery");
});

test("an older state than an owner has pinned is refused, and a newer one is not", async () => {
  const { state, guard, known } = await deploy();
  const later = (await guard.set(setRequest({ ...TWO_OF_THREE, names: ["web", "www"] }, guard))).snapshot;
  // Whoever has pinned the first one goes along with what owners allowed since.
  const newer = await state.load();
  await newer.recover(recoverRequest(known, alice));
  expect((await newer.recover(recoverRequest(later, carol))).recovered?.snapshot.manifestDigest).toBe(
    later.manifestDigest,
  );
  await new HostileStore(state.directory).compareAndSwapLatest(undefined, known.latest.raw);
  const older = await state.load();
  await older.recover(recoverRequest(known, alice));
  await expect(older.recover(recoverRequest(later, carol))).rejects.toMatchObject({ code: "pin_mismatch" });
  expect(older.phase).toBe("recovery");
});

/** Who has the seed signs what the pointer leads to. What is missing is an owner's leave. */
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
const removed = generateKeyPairSync("ec", { namedCurve: "P-384" });
const evil = manifestOf({ owners: [toHex(spkiDigest(stranger.publicKey))], names: ["evil"] });

const unsigned: [string, (known: Snapshot) => Partial<MadeUpStep>][] = [
  ["that a stranger signed", (known) => signedStep(known, stranger)],
  ["that an owner of the new manifest alone signed", (known) => signedStep(known, stranger)],
  [
    "with a signature that is over another manifest",
    (known) => {
      const change = { ...changeAfter(known, manifestOf({ names: ["other"] })) };
      return { meshKey: toHex(change.meshKey), signatures: [signedBy(ownerKeys, change)] };
    },
  ],
  [
    "with a signature for the mesh CA of another Coordinator",
    (known) => {
      const change = { ...changeAfter(known, evil), meshKey: randomBytes(32) };
      const meshKey = toHex(changeAfter(known, evil).meshKey);
      return { meshKey, signatures: [signedBy(ownerKeys, change)] };
    },
  ],
  [
    "with an owner's key and a signature of nobody's",
    (known) => {
      const { publicKey } = ownerKeys;
      const meshKey = toHex(changeAfter(known, evil).meshKey);
      return { meshKey, signatures: [{ publicKey: spki(publicKey), signature: randomBytes(70) }] };
    },
  ],
];

function signedStep(known: Snapshot, keys: KeyPair): Partial<MadeUpStep> {
  const change = changeAfter(known, evil);
  return { meshKey: toHex(change.meshKey), signatures: [signedBy(keys, change)] };
}

test.each(unsigned)("the seed and the host don't change an active manifest, by a change %s", async (_name, forge) => {
  const { state, guard, known, seed } = await deployAlone();
  const step = { manifest: evil, policies: [policy], seedShares: known.seedShares, ...forge(known) };
  await makeUp(new HostileStore(state.directory), seed, known.latest, step);
  const forced = guard.recover(recoverRequest(known, alice, { force: true }));
  await expect(forced).rejects.toMatchObject({ code: "unauthorized_history" });
  expect(guard.active()).toBe(known);
  // Nor after a restart.
  const restarted = await state.load();
  await expect(restarted.recover(recoverRequest(known, alice))).rejects.toMatchObject({ code: "unauthorized_history" });
  expect(restarted.phase).toBe("recovery");
});

test("a change that nobody signed can't even be written down", async () => {
  const { state, guard, known, seed } = await deployAlone();
  const meshKey = toHex(changeAfter(known, evil).meshKey);
  const step = { manifest: evil, policies: [policy], seedShares: known.seedShares, meshKey };
  await makeUp(new HostileStore(state.directory), seed, known.latest, step);
  const forced = guard.recover(recoverRequest(known, alice, { force: true }));
  await expect(forced).rejects.toMatchObject({ code: "damaged_state" });
  expect(guard.active()).toBe(known);
});

test("an active Coordinator does not read another history, nor an older state of its own", async () => {
  const { state, guard, known, seed } = await deployAlone();
  const later = (await guard.set(setRequest({ names: ["web", "www"] }, guard))).snapshot;
  const host = new HostileStore(state.directory);
  // With the seed anybody may begin another history: nobody has to allow its first manifest.
  const { transition } = await makeUp(host, seed, undefined, {
    manifest: evil,
    policies: [policy],
    seedShares: known.seedShares,
  });
  const begun = { ...recoverRequest(known, alice).pins, transition: Buffer.from(transition, "hex") };
  const force = { force: true };
  const attack = guard.recover(recoverRequest(known, alice, { ...force, pins: begun }));
  await expect(attack).rejects.toMatchObject({ code: "another_history" });
  await host.compareAndSwapLatest(undefined, known.latest.raw);
  const rollback = guard.recover(recoverRequest(known, alice, force));
  await expect(rollback).rejects.toMatchObject({
    code: "another_history",
    want: `one that contains ${later.latest.transition}`,
  });
  expect(guard.active()).toBe(later);
  await host.compareAndSwapLatest(undefined, later.latest.raw);
  expect((await guard.recover(recoverRequest(known, alice, force))).recovered?.snapshot.generation).toBe(2);
});

test("an active Coordinator goes on to a stored history that continues its own with an owner's leave", async () => {
  const { state, guard, known, seed } = await deployAlone();
  const manifest = manifestOf({ names: ["web", "www"] });
  const change = changeAfter(known, manifest);
  await makeUp(new HostileStore(state.directory), seed, known.latest, {
    manifest,
    policies: [policy],
    seedShares: known.seedShares,
    meshKey: toHex(change.meshKey),
    signatures: [signedBy(ownerKeys, change)],
  });
  const { recovered } = await guard.recover(recoverRequest(known, alice, { force: true }));
  expect(recovered?.manifest).toEqual(manifest);
  expect(guard.active().generation).toBe(2);
});

test("an owner whom a manifest removed allows nothing after it", async () => {
  const state = await newState();
  const guard = await state.load();
  const both = [owner, toHex(spkiDigest(removed.publicKey))];
  await guard.set(setRequest({ owners: both }));
  await guard.set(setRequest({ owners: [owner] }, guard));
  const manifest = manifestOf({ owners: both });
  const signatures = [signedBy(removed, changeAfter(guard.active(), manifest))];
  await expect(guard.set(setRequest({ manifest, signatures }, guard))).rejects.toMatchObject({ code: "not_owner" });
});

test("after a manifest without owners no history goes on, whoever has the seed", async () => {
  const state = await newState();
  const guard = await state.load();
  const known = (await guard.set(setRequest({ owners: [] }))).snapshot;
  const seed = new SeedEngine(shareOf(known.seedShares, alice), known.seedShares.salt);
  const step = { manifest: evil, policies: [policy], seedShares: known.seedShares, ...signedStep(known, ownerKeys) };
  await makeUp(new HostileStore(state.directory), seed, known.latest, step);
  for (const coordinator of [guard, await state.load()]) {
    const recovery = coordinator.recover(recoverRequest(known, alice, { force: true }));
    await expect(recovery).rejects.toMatchObject({ code: "unauthorized_history" });
  }
});

test("of two Coordinators that were recovered from one state, a signature is good for the one it was made for", async () => {
  const { state, guard, known } = await deployAlone();
  const fork = await newState();
  await new HostileStore(fork.directory).compareAndSwapLatest(undefined, known.latest.raw);
  await makeUp(new HostileStore(fork.directory), known.seed, undefined, {
    manifest: manifestOf(),
    policies: [policy],
    seedShares: known.seedShares,
  });
  const other = await fork.load();
  await other.recover(recoverRequest(known, alice));
  expect(other.active().latest.transition).toBe(known.latest.transition);
  expect(other.active().seed.workloadSecret("web").reveal()).toEqual(known.seed.workloadSecret("web").reveal());

  const request = setRequest({ names: ["web", "www"] }, guard);
  await expect(other.set(request)).rejects.toMatchObject({ code: "signature_outdated" });
  await expect(other.set({ ...request, signedMeshKey: undefined })).rejects.toMatchObject({ code: "bad_signature" });
  await guard.set(request);
  await expect(guard.set(request)).rejects.toMatchObject({ code: "signature_outdated" });
  expect(other.active().generation).toBe(1);

  // A recovery makes a new mesh CA, so what was signed before it is signed again.
  const before = setRequest({ names: ["web"] }, guard);
  const restarted = await state.load();
  await restarted.recover(recoverRequest(known, alice));
  await expect(restarted.set(before)).rejects.toMatchObject({ code: "signature_outdated" });
  await restarted.set(setRequest({ names: ["web"] }, restarted));
});
