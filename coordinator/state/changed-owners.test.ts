import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { parseTransition } from "../../manifest/transition.ts";
import { type KeyPair, spki, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  ownerKeys,
  policy,
  recoverRequest,
  seedshareOwners,
  setRequest,
  shareOf,
  signedBy,
  type TestState,
} from "../test-deployment.ts";
import { makeSeedShares } from "./seed-shares.ts";
import { SeedEngine } from "./seed.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateGuard } from "./state-guard.ts";
import { HostileStore, makeUp, type MadeUpStep } from "./test-hostile-host.ts";

/** Seed share owners come and go: who can recover then, and what a host can make of it with an owner who is gone. */

const [alice, bob, carol] = seedshareOwners as [KeyPair, KeyPair, KeyPair];

let state: TestState;

beforeEach(async () => {
  state = await makeState();
});

afterEach(() => state.remove());

interface Changed {
  readonly guard: StateGuard;
  readonly before: Snapshot;
  readonly after: Snapshot;
}

/** From alice alone, who so has the seed, to both of bob and carol. */
async function change(): Promise<Changed> {
  const guard = await state.load();
  const before = (await guard.set(setRequest())).snapshot;
  const after = (await guard.set(setRequest({ seedshareOwners: [bob, carol], threshold: 2 }, guard))).snapshot;
  return { guard, before, after };
}

test("new owners recover with their shares and no old one does; the seed stays, and so does what comes from it", async () => {
  const { before, after } = await change();
  expect(after.seed.workloadSecret("web").reveal()).toEqual(before.seed.workloadSecret("web").reveal());
  expect(after.seedShares).toMatchObject({ threshold: 2, salt: before.seedShares.salt });

  const guard = await state.load();
  await expect(guard.recover(recoverRequest(before, alice))).rejects.toMatchObject({ code: "not_seedshare_owner" });
  // One who has pinned what was before goes along with what the workload owners allowed since.
  const pinnedBefore = recoverRequest(before, alice).pins;
  expect((await guard.recover(recoverRequest(after, bob, { pins: pinnedBefore }))).missingShares).toBe(1);
  const { recovered } = await guard.recover(recoverRequest(after, carol));
  expect(recovered?.snapshot.authority.rootKey.publicKey.equals(before.authority.rootKey.publicKey)).toBe(true);
});

test.each<[string, { owners: readonly KeyPair[]; threshold?: number }]>([
  ["one is added", { owners: [alice, bob] }],
  ["one is replaced", { owners: [carol] }],
  ["all leave", { owners: [] }],
  ["the threshold rises", { owners: [alice, bob], threshold: 2 }],
])(
  "a transition has version 3 where %s, and the next that keeps them version 2",
  async (_name, { owners, threshold }) => {
    const guard = await state.load();
    const changes = { seedshareOwners: owners, ...(threshold === undefined ? {} : { threshold }) };
    const records = [
      (await guard.set(setRequest())).record,
      (await guard.set(setRequest({}, guard))).record,
      (await guard.set(setRequest(changes, guard))).record,
      (await guard.set(setRequest({ ...changes, seedshareOwners: owners.toReversed() }, guard))).record,
    ];
    const transitions = records.map(parseTransition);
    expect(transitions.map(({ version }) => version)).toEqual([2, 2, 3, 2]);
    expect(new Set(transitions.map(({ seedShares }) => seedShares))).toHaveLength(2);
    expect(new Set(transitions.map(({ rootKey }) => rootKey))).toHaveLength(1);
  },
);

test("an owner who comes with a share of before is told that it was made anew", async () => {
  const guard = await state.load();
  const before = (await guard.set(setRequest({ seedshareOwners: [alice, bob], threshold: 2 }))).snapshot;
  const after = (await guard.set(setRequest({ seedshareOwners: [alice, carol], threshold: 2 }, guard))).snapshot;
  const restarted = await state.load();
  await expect(restarted.recover(recoverRequest(before, alice))).rejects.toMatchObject({
    code: "wrong_seed",
    got: expect.stringContaining("an earlier share of this owner: manifest 2 has other seed share owners") as string,
  });
  const wrong = recoverRequest(after, alice, { share: new Secret(randomBytes(33)) });
  await expect(restarted.recover(wrong)).rejects.toMatchObject({ code: "wrong_seed", got: undefined });
  // Nor do old and new shares make the seed together, though it is the same seed.
  expect((await restarted.recover(recoverRequest(after, alice))).missingShares).toBe(1);
  const pins = recoverRequest(after, carol).pins;
  const mixed = recoverRequest(before, bob, { callerSpki: spki(carol.publicKey), pins });
  await expect(restarted.recover(mixed)).rejects.toMatchObject({ code: "wrong_seed" });
  expect((await restarted.recover(recoverRequest(after, carol))).missingShares).toBe(0);
});

/** What the host and an owner of before have: the disk, the seed, and every signature that was ever made. */
interface Attack {
  readonly step: Partial<MadeUpStep>;
  readonly code: string;
}

const attacks: [string, (deployment: Changed, seed: SeedEngine) => Promise<Attack>][] = [
  [
    "shares for the old owner, under the manifest in force",
    async ({ after }, seed) => {
      const seedShares = await makeSeedShares(seed.seed, seed.salt, [spki(alice.publicKey)], 1);
      return { step: { ...signed(after, manifest()), seedShares }, code: "damaged_state" };
    },
  ],
  [
    "shares for the old owner, with version 3",
    async ({ after }, seed) => {
      const seedShares = await makeSeedShares(seed.seed, seed.salt, [spki(alice.publicKey)], 1);
      return { step: { ...signed(after, manifest()), version: 3, seedShares }, code: "damaged_state" };
    },
  ],
  [
    "version 3 and the shares of before",
    async ({ after }) => ({ step: { ...signed(after, manifest()), version: 3 }, code: "damaged_state" }),
  ],
  [
    "a manifest that names the old owner again, without a workload owner's signature over it",
    async ({ after }, seed) => {
      const evil = manifestOf({ seedshareOwners: [alice] });
      const seedShares = await makeSeedShares(seed.seed, seed.salt, [spki(alice.publicKey)], 1);
      const step = { ...signed(after, manifest()), manifest: evil, version: 3 as const, seedShares };
      return { step, code: "not_seedshare_owner" };
    },
  ],
  [
    "a root CA key of their own, under a signature over the manifest",
    async ({ after }) => {
      const seed = new SeedEngine(new Secret(randomBytes(32)), randomBytes(32));
      const owners = [bob, carol].map(({ publicKey }) => spki(publicKey));
      const seedShares = await makeSeedShares(seed.seed, seed.salt, owners, 2);
      const rootKey = toHex(spkiDigest(seed.rootKey.publicKey));
      return { step: { ...signed(after, manifest()), version: 3, seedShares, rootKey }, code: "unauthorized_history" };
    },
  ],
];

const manifest = (): Buffer => manifestOf({ seedshareOwners: [bob, carol], threshold: 2, names: ["web", "www"] });

function signed(after: Snapshot, next: Buffer): Partial<MadeUpStep> & { manifest: Buffer } {
  const made = changeAfter(after, next);
  return { manifest: next, meshKey: toHex(made.meshKey), signatures: [signedBy(ownerKeys, made)] };
}

test.each(attacks)("the host and an old owner don't get %s past the others", async (_name, attack) => {
  const deployment = await change();
  const { before, after, guard } = deployment;
  const seed = new SeedEngine(shareOf(before.seedShares, alice), before.seedShares.salt);
  const { step, code } = await attack(deployment, seed);
  const whole = { manifest: manifest(), policies: [policy], seedShares: after.seedShares, ...step };
  await makeUp(new HostileStore(state.directory), seed, after.latest, whole);
  const forced = guard.recover(recoverRequest(after, bob, { force: true }));
  await expect(forced).rejects.toMatchObject({ code });
  expect(guard.active()).toBe(after);
  const restarted = await state.load();
  await expect(restarted.recover(recoverRequest(after, bob))).rejects.toMatchObject({ code });
  await expect(restarted.recover(recoverRequest(before, alice))).rejects.toThrow();
  expect(restarted.phase).toBe("recovery");
  expect(restarted.missingShares).toBeUndefined();
});

test("shares that the host made anew beside a real change open no other seed", async () => {
  // The owner's signature does not cover the shares, so this step is as allowed as the real one: what decides is the pin,
  // and for who has pinned the step before, the root CA key.
  const { before, after } = await change();
  const seed = new SeedEngine(new Secret(randomBytes(32)), before.seedShares.salt);
  const owners = [bob, carol].map(({ publicKey }) => spki(publicKey));
  const real = await new HostileStore(state.directory).get("transitions", after.latest.transition);
  const { signatures, meshKey = "" } = parseTransition(real);
  const seedShares = await makeSeedShares(seed.seed, seed.salt, owners, 2);
  await makeUp(new HostileStore(state.directory), before.seed, before.latest, {
    manifest: manifestOf({ seedshareOwners: [bob, carol], threshold: 2 }),
    policies: [policy],
    seedShares,
    meshKey,
    signatures,
    version: 3,
  });
  const restarted = await state.load();
  await expect(restarted.recover(recoverRequest(after, bob))).rejects.toMatchObject({ code: "pin_mismatch" });
  const { pins } = recoverRequest(before, alice);
  const deceived = { ...after, seedShares };
  expect((await restarted.recover(recoverRequest(deceived, bob, { pins }))).missingShares).toBe(1);
  const last = restarted.recover(recoverRequest(deceived, carol, { pins }));
  await expect(last).rejects.toMatchObject({ code: expect.stringMatching(/wrong_seed|pin_mismatch/) as string });
  expect(restarted.phase).toBe("recovery");
});
