import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import type { ChangeSignature } from "../../manifest/change-signature.ts";
import { parseTransition } from "../../manifest/transition.ts";
import { generateEcKey, type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  now,
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
import { PREPARED_MS, prepareSeed, requirePrepared } from "./prepared-seed.ts";
import { makeSeedShares } from "./seed-shares.ts";
import { SeedEngine } from "./seed.ts";
import type { SetRequest } from "./set.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateGuard } from "./state-guard.ts";
import { HostileStore, makeUp, type MadeUpStep } from "./test-hostile-host.ts";

/** A new seed by the workload owners' leave: what it changes, and what whoever has the old one makes of it. */

const [alice] = seedshareOwners as [KeyPair];
const second = await generateEcKey("P-384");
const secondOwner = toHex(spkiDigest(second.publicKey));

let state: TestState;

beforeEach(async () => {
  state = await makeState();
});

afterEach(() => state.remove());

const rootKeyOf = ({ seed }: Pick<Snapshot, "seed">): Uint8Array => spkiDigest(seed.rootKey.publicKey);

/** What owners send for a rekey, but for the changes. */
function rekeyRequest(
  guard: StateGuard,
  newRootKey: Uint8Array,
  changes: { manifest?: Uint8Array; signers?: readonly KeyPair[]; signatures?: readonly ChangeSignature[] } = {},
): SetRequest {
  const manifest = changes.manifest ?? manifestOf();
  const change = { ...changeAfter(guard.active(), manifest), newRootKey };
  const signatures = changes.signatures ?? (changes.signers ?? [ownerKeys]).map((keys) => signedBy(keys, change));
  return { ...setRequest({ manifest, signatures }, guard), newRootKey };
}

function prepare(guard: StateGuard): Uint8Array {
  return spkiDigest(guard.prepareRekey().engine.rootKey.publicKey);
}

interface Rekeyed {
  readonly guard: StateGuard;
  readonly before: Snapshot;
  readonly after: Snapshot;
  /** What whoever leaked the old seed has. */
  readonly old: SeedEngine;
}

async function rekey(manifest?: Uint8Array): Promise<Rekeyed> {
  const guard = await state.load();
  const before = (await guard.set(setRequest())).snapshot;
  const request = rekeyRequest(guard, prepare(guard), manifest === undefined ? {} : { manifest });
  const after = (await guard.set(request)).snapshot;
  const old = new SeedEngine(shareOf(before.seedShares, alice), before.seedShares.salt);
  return { guard, before, after, old };
}

test("a rekey makes everything new that came from the seed, and what owners signed says so", async () => {
  const { guard, before, after } = await rekey();
  expect(guard.active()).toBe(after);
  expect(rootKeyOf(after)).not.toEqual(rootKeyOf(before));
  expect(after.seedShares.salt).not.toEqual(before.seedShares.salt);
  expect(after.seed.workloadSecret("web").reveal()).not.toEqual(before.seed.workloadSecret("web").reveal());
  expect(after.authority.rootKey).toBe(after.seed.rootKey);
  expect(after.authority.meshKey).not.toBe(before.authority.meshKey);
  expect(after).toMatchObject({ generation: 2, seedShares: { secretVersion: 2, earlier: [] } });

  const { transition } = (await guard.history()).steps[1] ?? {};
  expect(transition).toMatchObject({ version: 3, rootKey: toHex(rootKeyOf(after)) });
  const next = await guard.set(setRequest({}, guard));
  expect(parseTransition(next.record)).toMatchObject({ version: 2, rootKey: toHex(rootKeyOf(after)) });
});

test("a rekey opens no window for certificates of before, whatever the manifest says", async () => {
  const manifest = manifestOf({ meshCaOverlap: "1h" });
  const guard = await state.load();
  await guard.set(setRequest({ manifest }));
  // What the rekey would keep trusted otherwise.
  const plain = await guard.set(setRequest({ manifest }, guard));
  expect(plain.snapshot.previousMeshes).toHaveLength(1);
  const result = await guard.set(rekeyRequest(guard, prepare(guard), { manifest }));
  expect(result.snapshot.previousMeshes).toEqual([]);
  expect(result.overlapRefused).toBeDefined();
});

test("after a restart the new share recovers, the old one is told what it is, and an old pin is enough", async () => {
  const { before, after } = await rekey();
  const guard = await state.load();
  const { pins } = recoverRequest(before, alice);
  await expect(guard.recover(recoverRequest(before, alice))).rejects.toMatchObject({
    code: "wrong_seed",
    got: "an earlier share of this owner: manifest 2 came with a new seed (`contrast rekey`)",
  });
  for (const wrong of [
    { ...pins, rootKey: rootKeyOf(after) },
    { ...pins, transition: Buffer.from(after.latest.transition, "hex") },
  ]) {
    await expect(guard.recover(recoverRequest(after, alice, { pins: wrong }))).rejects.toMatchObject({
      code: "pin_mismatch",
    });
  }
  const { recovered } = await guard.recover(recoverRequest(after, alice, { pins }));
  expect(recovered && rootKeyOf(recovered.snapshot)).toEqual(rootKeyOf(after));
  expect(recovered?.snapshot.seedShares.secretVersion).toBe(2);
});

test("one seed is prepared at a time, and whoever asks again is told the same until something else happens", async () => {
  const guard = await state.load();
  expect(() => guard.prepareRekey()).toThrow(expect.objectContaining({ code: "no_manifest" }));
  const before = (await guard.set(setRequest())).snapshot;
  const first = prepare(guard);
  expect(prepare(guard)).toEqual(first);
  await guard.set(setRequest({}, guard));
  const other = prepare(guard);
  expect(other).not.toEqual(first);
  await expect(guard.set(rekeyRequest(guard, first))).rejects.toMatchObject({ code: "rekey_not_prepared" });

  // A recovery ends it, and a restart does: it is in memory alone.
  await guard.recover(recoverRequest(before, alice, { force: true }));
  await expect(guard.set(rekeyRequest(guard, other))).rejects.toMatchObject({ code: "rekey_not_prepared" });
  const last = prepare(guard);
  const restarted = await state.load();
  expect(() => restarted.prepareRekey()).toThrow(expect.objectContaining({ code: "needs_recovery" }));
  await restarted.recover(recoverRequest(before, alice));
  await expect(restarted.set(rekeyRequest(restarted, last))).rejects.toMatchObject({
    code: "rekey_not_prepared",
    want: "a prepared one; there is none",
  });
});

test("a prepared seed is kept for a week after it was last asked for", async () => {
  const guard = await state.load();
  const { snapshot } = await guard.set(setRequest());
  const later = (ms: number): Date => new Date(now().getTime() + ms);
  const first = prepareSeed(undefined, snapshot, now(), randomBytes);
  const rootKey = rootKeyOf({ seed: first.engine });
  const again = prepareSeed(first, snapshot, later(PREPARED_MS - 1), randomBytes);
  expect(again.engine).toBe(first.engine);
  expect(again.until).toEqual(later(2 * PREPARED_MS - 1));
  expect(requirePrepared(again, rootKey, snapshot, later(2 * PREPARED_MS - 2))).toBe(first.engine);
  const over = (): unknown => requirePrepared(again, rootKey, snapshot, later(2 * PREPARED_MS - 1));
  expect(over).toThrow(expect.objectContaining({ code: "rekey_not_prepared" }));
  expect(prepareSeed(first, snapshot, later(PREPARED_MS), randomBytes).engine).not.toBe(first.engine);
});

test("a rekey takes as many owners as the manifest says, and each signs the root CA key", async () => {
  const guard = await state.load();
  const manifest = manifestOf({ owners: [owner, secondOwner], ownerThreshold: 2 });
  await guard.set(setRequest({ manifest }));
  const newRootKey = prepare(guard);
  const both = [ownerKeys, second];
  const code = async (request: SetRequest): Promise<unknown> => {
    return guard.set(request).then(
      () => "set",
      ({ code: of }: { code: unknown }) => of,
    );
  };
  expect(await code(rekeyRequest(guard, newRootKey, { manifest, signers: [ownerKeys] }))).toBe("too_few_signatures");
  expect(await code(rekeyRequest(guard, newRootKey, { manifest, signers: [ownerKeys, ownerKeys] }))).toBe(
    "too_few_signatures",
  );
  // One signed the manifest alone, or another root CA key.
  const change = changeAfter(guard.active(), manifest);
  const [first] = rekeyRequest(guard, newRootKey, { manifest }).signatures as [ChangeSignature];
  for (const wrong of [signedBy(second, change), signedBy(second, { ...change, newRootKey: randomBytes(32) })]) {
    expect(await code(rekeyRequest(guard, newRootKey, { manifest, signatures: [first, wrong] }))).toBe("bad_signature");
  }
  // Signed as a rekey, sent as a plain set.
  const plain = { ...rekeyRequest(guard, newRootKey, { manifest, signers: both }), newRootKey: undefined };
  expect(await code(plain)).toBe("bad_signature");
  expect(await code(rekeyRequest(guard, randomBytes(32), { manifest, signers: both }))).toBe("rekey_not_prepared");
  expect(guard.active().generation).toBe(1);
  expect(await code(rekeyRequest(guard, newRootKey, { manifest, signers: both }))).toBe("set");
});

test("the first manifest of a deployment is no rekey", async () => {
  const guard = await state.load();
  const first = guard.set({ ...setRequest(), newRootKey: randomBytes(32) });
  await expect(first).rejects.toMatchObject({ code: "rekey_not_prepared" });
  expect(guard.phase).toBe("empty");
});

/** What the host and whoever has the old seed make up. They have every signature that was ever made. */
const attacks: [string, (deployment: Rekeyed) => Promise<Partial<MadeUpStep> & { manifest: Uint8Array }>][] = [
  [
    "a rekey to a seed of their own, signed as a plain change",
    async ({ before }) => ({ ...(await ownSeed()), ...signedFor(before, ownerKeys) }),
  ],
  [
    "a rekey to a seed of their own, that a stranger signed",
    async ({ before }) => {
      const own = await ownSeed();
      return { ...own, ...signedFor(before, await generateEcKey("P-256"), Buffer.from(own.rootKey, "hex")) };
    },
  ],
  [
    "the owners' rekey with a root CA key of their own",
    async ({ guard }) => {
      const { transition, manifest } = (await guard.history()).steps[1] as { transition: never; manifest: Uint8Array };
      const { meshKey, signatures } = transition as { meshKey: string; signatures: ChangeSignature[] };
      return { ...(await ownSeed()), manifest, meshKey, signatures };
    },
  ],
  [
    "the owners' rekey as if it were none",
    async ({ guard, before }) => {
      const { transition, manifest } = (await guard.history()).steps[1] as { transition: never; manifest: Uint8Array };
      const { meshKey, signatures } = transition as { meshKey: string; signatures: ChangeSignature[] };
      return { version: 2, seedShares: before.seedShares, manifest, meshKey, signatures };
    },
  ],
  [
    "a change without a rekey in its place, by a stranger",
    async ({ before }) => ({ version: 2, seedShares: before.seedShares, ...signedFor(before, second) }),
  ],
];

async function ownSeed(): Promise<Partial<MadeUpStep> & { rootKey: string }> {
  const seed = new SeedEngine(new Secret(randomBytes(32)), randomBytes(32));
  const seedShares = await makeSeedShares(seed.seed, seed.salt, [spki(alice.publicKey)], 1);
  return { version: 3, seedShares, rootKey: toHex(spkiDigest(seed.rootKey.publicKey)) };
}

function signedFor(before: Snapshot, keys: KeyPair, newRootKey?: Uint8Array) {
  const manifest = manifestOf({ names: ["evil"] });
  const change = { ...changeAfter(before, manifest), newRootKey };
  return { manifest, meshKey: toHex(change.meshKey), signatures: [signedBy(keys, change)] };
}

test.each(attacks)("whoever has the old seed and the host don't get past an owner with %s", async (_name, forge) => {
  const deployment = await rekey();
  const { guard, before, after, old } = deployment;
  const step = await forge(deployment);
  const whole = { policies: [policy], seedShares: after.seedShares, ...step };
  await makeUp(new HostileStore(state.directory), old, before.latest, whole);
  // An owner who has pinned the rekey does not know that history.
  const force = { force: true };
  await expect(guard.recover(recoverRequest(after, alice, force))).rejects.toMatchObject({ code: "pin_mismatch" });
  // Nor does one who has not.
  const { pins } = recoverRequest(before, alice);
  await expect(guard.recover(recoverRequest(after, alice, { ...force, pins }))).rejects.toMatchObject({
    code: expect.stringMatching(/^(another_history|unauthorized_history|damaged_state)$/) as string,
  });
  expect(guard.active()).toBe(after);
  const restarted = await state.load();
  await expect(restarted.recover(recoverRequest(before, alice))).rejects.toMatchObject({
    code: expect.stringMatching(/^(unauthorized_history|damaged_state)$/) as string,
  });
  expect(restarted.phase).toBe("recovery");
});

test("the old seed moves no pointer to the new history, nor past it", async () => {
  const { guard, after, old } = await rekey();
  const change = changeAfter(after, manifestOf({ names: ["web", "www"] }));
  // With an owner's leave for what follows, and the old key below the pointer.
  await makeUp(new HostileStore(state.directory), old, after.latest, {
    manifest: Buffer.from(change.manifest),
    policies: [policy],
    seedShares: after.seedShares,
    rootKey: toHex(rootKeyOf(after)),
    meshKey: toHex(change.meshKey),
    signatures: [signedBy(ownerKeys, change)],
  });
  for (const coordinator of [guard, await state.load()]) {
    const recovery = coordinator.recover(recoverRequest(after, alice, { force: true }));
    await expect(recovery).rejects.toMatchObject({ code: "wrong_seed" });
  }
});

test("a signature for a rekey is good once, at one place of one history", async () => {
  const guard = await state.load();
  await guard.set(setRequest());
  const newRootKey = prepare(guard);
  const request = rekeyRequest(guard, newRootKey);
  await guard.set(request);
  await expect(guard.set(request)).rejects.toMatchObject({ code: "signature_outdated" });
  await expect(guard.set({ ...request, signedMeshKey: undefined })).rejects.toMatchObject({ code: "bad_signature" });
});
