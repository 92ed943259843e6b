import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { spki, spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import { makeSeedShares, type SeedShares } from "./seed-shares.ts";
import { SeedEngine } from "./seed.ts";
import type { StateGuard } from "./state-guard.ts";
import type { RecoverRequest } from "./recover.ts";
import type { Snapshot } from "./snapshot.ts";
import {
  makeState,
  manifestOf,
  policy,
  recoverRequest,
  seedshareOwners,
  setRequest,
  shareOf,
  type TestState,
} from "../test-deployment.ts";
import { HostileStore, makeUp } from "./test-hostile-host.ts";

/** Who may recover, and how many it takes. */

const TWO_OF_THREE = { seedshareOwners, threshold: 2 } as const;
const [alice, bob, carol] = seedshareOwners;

let state: TestState;

beforeEach(async () => {
  state = await makeState();
});

afterEach(() => state.remove());

async function deploy(guard: StateGuard): Promise<Snapshot> {
  return (await guard.set(setRequest(TWO_OF_THREE))).snapshot;
}

/** A state that begins with this seed and these shares. @returns what pins it */
async function makeUpState(
  manifest: Buffer,
  seed: SeedEngine,
  seedShares: SeedShares,
): Promise<RecoverRequest["pins"]> {
  const step = { manifest, policies: [policy], seedShares };
  const { transition } = await makeUp(new HostileStore(state.directory), seed, undefined, step);
  return { transition: Buffer.from(transition, "hex"), rootKey: spkiDigest(seed.rootKey.publicKey) };
}

test("whose key is no seed share owner's recovers nothing, not even with the right seed", async () => {
  const recovery = recoverRequest((await (await state.load()).set(setRequest())).snapshot);
  const guard = await state.load();
  for (const stranger of [bob, carol]) {
    const callerSpki = stranger && spki(stranger.publicKey);
    await expect(guard.recover({ ...recovery, ...(callerSpki && { callerSpki }) })).rejects.toMatchObject({
      code: "not_seedshare_owner",
      got: createHash("sha256")
        .update(callerSpki ?? "")
        .digest("hex"),
    });
  }
  const { callerSpki } = recovery;
  for (const at of [0, callerSpki.length - 1]) {
    const flipped = Buffer.from(callerSpki.map((byte, index) => (index === at ? byte ^ 1 : byte)));
    await expect(guard.recover({ ...recovery, callerSpki: flipped })).rejects.toMatchObject({
      code: "not_seedshare_owner",
    });
  }
  expect(guard.phase).toBe("recovery");
  await guard.recover(recovery);
});

test("a host can't recover a Coordinator with a seed of its own under the owners' manifest", async () => {
  // The host has all that is public: the manifest, its policies, the owners' keys. It makes up the rest, correctly.
  const [seed, salt] = [new Secret(randomBytes(32)), randomBytes(32)];
  const hostSpki = spki((bob ?? fail()).publicKey);
  const pins = await makeUpState(
    manifestOf(),
    new SeedEngine(seed, salt),
    await makeSeedShares(seed, salt, [hostSpki], 1),
  );

  const guard = await state.load();
  expect(guard.phase).toBe("recovery");
  const attack = { share: seed, salt, callerSpki: hostSpki, pins, force: false };
  await expect(guard.recover(attack)).rejects.toMatchObject({ code: "not_seedshare_owner" });
  await expect(guard.recover({ ...attack, force: true })).rejects.toMatchObject({ code: "not_seedshare_owner" });
  expect(guard.phase).toBe("recovery");
});

test.each<[string, number, (shares: SeedShares) => SeedShares]>([
  ["one owner's share is enough", 1, (shares) => shares],
  ["another owner's share counts", 2, ({ shares, ...rest }) => ({ ...rest, shares: shares.slice(0, 2) })],
])("a host and one of the owners can't make up seed shares by which %s", async (_name, threshold, change) => {
  const [seed, salt] = [new Secret(randomBytes(32)), randomBytes(32)];
  const owners = seedshareOwners.map(({ publicKey }) => spki(publicKey));
  const made = change(await makeSeedShares(seed, salt, owners, threshold));
  const engine = new SeedEngine(seed, salt);
  const pins = await makeUpState(manifestOf({ seedshareOwners, threshold: 2 }), engine, made);

  const guard = await state.load();
  const [share, callerSpki] = [shareOf(made, alice ?? fail()), spki((alice ?? fail()).publicKey)];
  await expect(guard.recover({ share, salt, callerSpki, pins, force: false })).rejects.toMatchObject({
    code: "damaged_state",
    where: "seedshares",
  });
  expect(guard.phase).toBe("recovery");
});

test("any two of three owners recover, in turn, and are told how many are missing", async () => {
  const first = await state.load();
  const known = await deploy(first);
  const secret = first.active().seed.workloadSecret("web").reveal();
  for (const [one, other] of [
    [alice, bob],
    [carol, alice],
    [bob, carol],
  ]) {
    const guard = await state.load();
    expect(await guard.recover(recoverRequest(known, one))).toEqual({ missingShares: 1, recovered: undefined });
    expect(guard.phase).toBe("recovery");
    // An owner who asks again is still one owner.
    expect(await guard.recover(recoverRequest(known, one))).toEqual({ missingShares: 1, recovered: undefined });
    const { missingShares, recovered } = await guard.recover(recoverRequest(known, other));
    expect(missingShares).toBe(0);
    expect(recovered?.snapshot.seed.workloadSecret("web").reveal()).toEqual(secret);
    expect(guard.active()).toBe(recovered?.snapshot);
  }
});

test("a wrong share is refused at once, names its owner, and leaves those that were given", async () => {
  const known = await deploy(await state.load());
  const guard = await state.load();
  await guard.recover(recoverRequest(known, alice));
  const right = recoverRequest(known, bob);
  const bytes = right.share.reveal();
  const wrong: [string, Partial<typeof right>][] = [
    ...Array.from({ length: bytes.length * 8 }, (_, bit): [string, Partial<typeof right>] => {
      const share = new Secret(bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
      return [`bit ${bit}`, { share }];
    }),
    ["another owner's share", { share: shareOf(known.seedShares, carol ?? fail()) }],
    ["a short share", { share: new Secret(bytes.subarray(1)) }],
    ["no share", { share: new Secret(Buffer.alloc(0)) }],
    ["another salt", { salt: Buffer.from(right.salt.map((byte, at) => (at === 31 ? byte ^ 1 : byte))) }],
  ];
  for (const [what, change] of wrong) {
    const refused = await guard.recover({ ...right, ...change }).catch((error: unknown) => error);
    expect(refused, what).toMatchObject({
      code: "wrong_seed",
      where: `the seed share owner ${createHash("sha256").update(right.callerSpki).digest("hex")}`,
    });
  }
  expect(guard.phase).toBe("recovery");
  expect((await guard.recover(right)).missingShares).toBe(0);
});

test("shares that were given for one state don't count for another", async () => {
  const first = await state.load();
  const known = await deploy(first);
  // Forced, so that the pointer can move between two owners.
  await first.recover(recoverRequest(known, alice, { force: true }));
  await first.set(setRequest({ ...TWO_OF_THREE, names: ["web", "www"] }, first));
  expect((await first.recover(recoverRequest(known, bob, { force: true }))).missingShares).toBe(1);
  expect((await first.recover(recoverRequest(known, carol, { force: true }))).missingShares).toBe(0);
});

test("an active Coordinator is recovered by as many owners, and shares are used once", async () => {
  const guard = await state.load();
  const known = await deploy(guard);
  const before = guard.active();
  const force = { force: true };
  expect((await guard.recover(recoverRequest(known, alice, force))).missingShares).toBe(1);
  expect(guard.active()).toBe(before);
  expect((await guard.recover(recoverRequest(known, bob, force))).missingShares).toBe(0);
  expect(guard.active()).not.toBe(before);
  expect((await guard.recover(recoverRequest(known, carol, force))).missingShares).toBe(1);
});

function fail(): never {
  throw new Error("no such owner");
}
