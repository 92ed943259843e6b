import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { encodeAnnex } from "../../manifest/annex.ts";
import { encodeTransition } from "../../manifest/transition.ts";
import { type KeyPair, spkiDigest } from "../../pki/keys.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  ownerKeys,
  recoverRequest,
  seedshareOwners,
  setRequest,
  shareOf,
  signedBy,
  type TestState,
} from "../test-deployment.ts";
import { withUse } from "./amend.ts";
import { annexInForce, annexOf, secretsOf } from "./annex-in-force.ts";
import { movePointer, storeSeedShares } from "./history.ts";
import { provesRekey } from "./rekey-proof.ts";
import { readSealed } from "./sealed-secrets.ts";
import { SeedEngine } from "./seed.ts";
import type { SetResult } from "./set.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateGuard } from "./state-guard.ts";
import { amend, served, withGrant, withSecret } from "./test-amend.ts";

/** What a rekey makes of an annex, and what whoever has the seed of before can still do with it. */

const [alice] = seedshareOwners as [KeyPair];

let state: TestState;
let guard: StateGuard;

beforeEach(async () => {
  state = await makeState();
  guard = await state.load();
  await guard.set(setRequest());
  await amend(guard, await withSecret(guard, "db", "one"), [ownerKeys]);
  await amend(guard, await withSecret(guard, "db", "two"), [ownerKeys]);
  await amend(guard, withGrant(guard, "web", "data", 2), [ownerKeys]);
});

afterEach(() => state.remove());

async function rekey(): Promise<SetResult> {
  const newRootKey = spkiDigest(guard.prepareRekey().engine.rootKey.publicKey);
  const manifest = manifestOf();
  const change = { ...changeAfter(guard.active(), manifest), newRootKey };
  return guard.set({ ...setRequest({ manifest, signatures: [signedBy(ownerKeys, change)] }, guard), newRootKey });
}

const oldSeed = ({ seedShares }: Snapshot): SeedEngine => new SeedEngine(shareOf(seedShares, alice), seedShares.salt);

test("a rekey seals every secret anew: the values stay, and the seed of before opens none of them", async () => {
  const before = guard.active();
  const { snapshot } = await rekey();
  expect(await served(guard)).toEqual({ "db@2": "two", "db@1": "one" });
  expect(annexOf(snapshot).volumes).toEqual(annexOf(before).volumes);
  const [was, is] = [before, snapshot].map((each) => secretsOf(annexOf(each)));
  expect(is?.map(({ sealed: _sealed, ...rest }) => rest)).toEqual(was?.map(({ sealed: _sealed, ...rest }) => rest));
  for (const secret of is ?? []) {
    expect(was?.map(({ sealed }) => sealed)).not.toContain(secret.sealed);
    expect(await readSealed(oldSeed(before), secret, state.store())).toBeUndefined();
  }
  // The whole history is good, and recovery serves the same.
  guard = await state.load();
  await guard.recover(recoverRequest(snapshot));
  expect(await served(guard)).toEqual({ "db@2": "two", "db@1": "one" });
});

test("a rekey without a ciphertext changes nothing, and says which secret to remove or to set again", async () => {
  const before = guard.active();
  const [latest] = secretsOf(annexOf(before));
  rmSync(join(state.directory, "secrets", latest?.sealed ?? ""));
  await expect(rekey()).rejects.toMatchObject({
    code: "damaged_state",
    where: expect.stringContaining("version 2 of the secret db"),
  });
  expect(guard.active()).toBe(before);
  await amend(guard, { ...annexOf(before), secrets: new Map([["db", { latestVersion: 2, versions: [] }]]) }, [
    ownerKeys,
  ]);
  await rekey();
  expect(await served(guard)).toEqual({});
});

/** Whoever has the seed can make these: they have no signature of an owner, and the pointer is by a key of the seed. */
async function forgeUse(known: Snapshot): Promise<Snapshot> {
  const store = state.store();
  const seed = oldSeed(known);
  const after = withUse(annexOf(known), { workload: "web", volume: "data" });
  const bytes = encodeAnnex(after);
  await store.put("annexes", bytes);
  const record = encodeTransition({
    manifest: known.manifestDigest,
    previous: known.latest.transition,
    seedShares: await storeSeedShares(store, known.seedShares),
    rootKey: toHex(spkiDigest(seed.rootKey.publicKey)),
    meshKey: known.latest.meshKey,
    annex: annexInForce(bytes, after).digest,
    signatures: [],
  });
  const target = { transition: await store.put("transitions", record), meshKey: known.latest.meshKey ?? "" };
  const latest = await movePointer(store, known.latest, target, seed.historyKey.privateKey);
  return {
    ...known,
    latest,
    annex: annexInForce(bytes, after),
    unsigned: [...known.unsigned, known.latest.transition],
  };
}

test("the proof of a rekey convinces a Coordinator that was led on by uses that the seed of before signed", async () => {
  const before = guard.active();
  const { record } = await rekey();
  expect(provesRekey(record, before)).toBe(true);
  // The host puts the pointer of before back, and goes on from there with the old seed.
  const store = state.store();
  await store.compareAndSwapLatest(await store.latest(), before.latest.raw);
  const led = await forgeUse(before);
  expect(led.latest.transition).not.toBe(before.latest.transition);
  expect(provesRekey(record, led)).toBe(true);
  expect(provesRekey(record, await forgeUse(led))).toBe(true);
  // Where owners signed something after it, it proves nothing: they did not mean to replace that.
  expect(provesRekey(record, { ...led, unsigned: [] })).toBe(false);
});
