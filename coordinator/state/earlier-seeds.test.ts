import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { toHex } from "../../bytes/encode.ts";
import { parseManifest } from "../../manifest/manifest.ts";
import { spkiDigest } from "../../pki/keys.ts";
import { Secret } from "../../runtime/secret.ts";
import {
  changeAfter,
  makeState,
  manifestOf,
  now,
  ownerKeys,
  recoverRequest,
  seedshareOwners,
  setRequest,
  signedBy,
  type TestState,
} from "../test-deployment.ts";
import { earlierAfterRekey, type EarlierSeed, earlierSecrets, openSealed, sealSeed } from "./earlier-seeds.ts";
import { SeedEngine } from "./seed.ts";
import type { Snapshot } from "./snapshot.ts";
import type { StateGuard } from "./state-guard.ts";

/** What workloads can still read after a rekey, for how long, and what nobody can. */

const vectors = JSON.parse(readFileSync(new URL("earlier-seeds.vectors.json", import.meta.url), "utf8")) as Readonly<{
  seed: string;
  salt: string;
  rootKey: string;
  earlier: { seed: string; salt: string };
  version: number;
  replaced: number;
  until: number;
  nonce: string;
  sealingKey: string;
  sealed: string;
  secret: string;
}>;
const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
const engineOf = (seed: Buffer, salt: Buffer): SeedEngine => new SeedEngine(new Secret(seed), salt);

const inForce = engineOf(bytes(vectors.seed), bytes(vectors.salt));
const earlier = { seed: new Secret(bytes(vectors.earlier.seed)), salt: bytes(vectors.earlier.salt) };
const { version, replaced, until } = vectors;
const sealed: EarlierSeed = { version, replaced, until, sealed: bytes(vectors.sealed) };

test("what another implementation of HKDF and AES-GCM sealed is opened, and sealed to the same bytes", () => {
  expect(toHex(spkiDigest(inForce.rootKey.publicKey))).toBe(vectors.rootKey);
  expect(sealSeed(inForce, earlier, { version, replaced, until }, bytes(vectors.nonce))).toEqual(sealed);
  const opened = openSealed(inForce, sealed);
  expect(opened.seed.reveal().toString("hex")).toBe(vectors.earlier.seed);
  expect(opened.salt.toString("hex")).toBe(vectors.earlier.salt);
  const seeds = { seed: inForce, seedShares: { secretVersion: 4, earlier: [sealed] } };
  const secrets = earlierSecrets(seeds, "web", until - replaced, new Date(replaced));
  expect(secrets.map(({ secret, ...facts }) => [secret.reveal().toString("hex"), facts])).toEqual([
    [vectors.secret, { version, until }],
  ]);
});

test("openssl derives the same key, and decrypts with it", () => {
  const hkdf = ["-kdfopt", "digest:SHA256", "-kdfopt", `hexkey:${vectors.seed}`, "-kdfopt", `hexsalt:${vectors.salt}`];
  const info = ["-kdfopt", "info:contrast earlier seed sealing key"];
  const key = execFileSync("openssl", ["kdf", "-keylen", "32", ...hkdf, ...info, "-binary", "HKDF"]).toString("hex");
  expect(key).toBe(vectors.sealingKey);
  // GCM encrypts in counter mode, from the second block on; the command has no GCM.
  const iv = `${vectors.nonce}00000002`;
  const input = sealed.sealed.subarray(12, -16);
  const text = execFileSync("openssl", ["enc", "-d", "-aes-256-ctr", "-K", key, "-iv", iv], { input });
  expect(text.toString("hex")).toBe(vectors.earlier.seed + vectors.earlier.salt);
});

test("no bit of it can be changed, and no other seed opens it", () => {
  for (let bit = 0; bit < sealed.sealed.length * 8; bit++) {
    const changed = Buffer.from(sealed.sealed);
    changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    expect(() => openSealed(inForce, { ...sealed, sealed: changed })).toThrow();
  }
  for (const change of [{ version: version + 1 }, { replaced: replaced + 1 }, { until: until + 1 }]) {
    expect(() => openSealed(inForce, { ...sealed, ...change })).toThrow();
  }
  for (const [seed, salt] of [
    [randomBytes(32), inForce.salt],
    [inForce.seed.reveal(), randomBytes(32)],
    // Whoever has the earlier seed has nothing of the later one, nor of others that it sealed.
    [earlier.seed.reveal(), earlier.salt],
  ] as const) {
    expect(() => openSealed(engineOf(seed, salt), sealed)).toThrow();
  }
  expect(inspect(openSealed(inForce, sealed))).not.toContain(vectors.earlier.seed);
});

test("a seed is readable for as long as the manifest of its rekey and the one in force both say", () => {
  const seeds = { seed: inForce, seedShares: { secretVersion: 4, earlier: [sealed] } };
  const at = (ms: number, overlapMs: number) => earlierSecrets(seeds, "web", overlapMs, new Date(replaced + ms));
  const window = until - replaced;
  expect(at(window - 1, window)).toHaveLength(1);
  expect(at(window, window)).toEqual([]);
  // A later manifest can close it earlier, and can't open it for longer.
  expect(at(1000, 999)).toEqual([]);
  expect(at(0, 0)).toEqual([]);
  expect(at(window, 10 * window)).toEqual([]);
  expect(at(10, 1000)[0]?.until).toBe(replaced + 1000);
});

test("a rekey keeps those that are readable, each with its own end, and sealed under the newest seed alone", () => {
  const hour = 3_600_000;
  const engines = [1, 2, 3, 4].map((byte) => engineOf(Buffer.alloc(32, byte), Buffer.alloc(32, byte)));
  const [one, two, three, four] = engines as [SeedEngine, SeedEngine, SeedEngine, SeedEngine];
  const start = now().getTime();
  const rekey = (
    seed: SeedEngine,
    next: SeedEngine,
    before: readonly EarlierSeed[],
    hours: number,
    overlap: number,
  ) => {
    const seedShares = { secretVersion: engines.indexOf(seed) + 1, earlier: before };
    const options = { overlapMs: overlap * hour, now: new Date(start + hours * hour), random: randomBytes };
    return earlierAfterRekey({ seed, seedShares }, next, options);
  };
  const first = rekey(one, two, [], 0, 3);
  const second = rekey(two, three, first, 2, 3);
  expect(second.map((seed) => ({ version: seed.version, replaced: seed.replaced, until: seed.until }))).toEqual([
    { version: 1, replaced: start, until: start + 3 * hour },
    { version: 2, replaced: start + 2 * hour, until: start + 5 * hour },
  ]);
  expect(second.map((seed) => openSealed(three, seed).seed.reveal()[0])).toEqual([1, 2]);
  for (const seed of second) expect(() => openSealed(two, seed)).toThrow();
  expect(rekey(three, four, second, 4, 3).map((seed) => seed.version)).toEqual([2, 3]);
  // After a leak nothing is to be readable, and what was is gone.
  expect(rekey(three, four, second, 2, 0)).toEqual([]);
  expect(rekey(three, four, second, 2.5, 1).map((seed) => seed.version)).toEqual([2, 3]);
});

let state: TestState;

beforeEach(async () => {
  state = await makeState();
});

afterEach(() => state.remove());

async function rekey(guard: StateGuard, changes: Parameters<typeof manifestOf>[0]): Promise<Snapshot> {
  const manifest = manifestOf(changes);
  const newRootKey = spkiDigest(guard.prepareRekey().engine.rootKey.publicKey);
  const change = { ...changeAfter(guard.active(), manifest), newRootKey };
  const signed = { signatures: [signedBy(ownerKeys, change)], signedMeshKey: change.meshKey, newRootKey };
  return (await guard.set({ ...setRequest({ manifest }, guard), ...signed })).snapshot;
}

const secretsOf = (snapshot: Snapshot, at = now()): (readonly [number, string])[] => {
  const { workloadSecretOverlapMs } = snapshot.manifest;
  const old = earlierSecrets(snapshot, "web", workloadSecretOverlapMs, at);
  return old.map((one) => [one.version, one.secret.reveal().toString("hex")]);
};

test("the window survives sets, other seed share owners and a recovery", async () => {
  const window = { workloadSecretOverlap: "1h" };
  const guard = await state.load();
  const first = (await guard.set(setRequest(window))).snapshot;
  const known = [[1, first.seed.workloadSecret("web").reveal().toString("hex")]];
  const second = await rekey(guard, window);
  expect(secretsOf(second)).toEqual(known);
  expect(secretsOf(second, new Date(now().getTime() + 3_600_000))).toEqual([]);
  expect(secretsOf((await guard.set(setRequest(window, guard))).snapshot)).toEqual(known);
  const moved = (await guard.set(setRequest({ ...window, seedshareOwners: seedshareOwners.slice(1) }, guard))).snapshot;
  expect(secretsOf(moved)).toEqual(known);
  const restarted = await state.load();
  const { recovered } = await restarted.recover(recoverRequest(moved, seedshareOwners[1]));
  expect(recovered && secretsOf(recovered.snapshot)).toEqual(known);
  expect(recovered?.snapshot.seedShares.secretVersion).toBe(2);

  // A manifest without the window closes it, and the next rekey forgets the seed for good.
  expect(secretsOf((await restarted.set(setRequest({}, restarted))).snapshot)).toEqual([]);
  const third = await rekey(restarted, {});
  expect(third.seedShares).toMatchObject({ secretVersion: 3, earlier: [] });
});

test.each([["5m"], ["8760h"]])("a manifest may name a window of %s", (workloadSecretOverlap) => {
  expect(parseManifest(manifestOf({ workloadSecretOverlap })).workloadSecretOverlapMs).toBeGreaterThan(0);
});

test.each([["4m59s"], ["8761h"], ["0s"], ["1 h"], ["forever"], [""]])(
  "a manifest can't name a window of %j",
  (workloadSecretOverlap) => {
    expect(() => parseManifest(manifestOf({ workloadSecretOverlap }))).toThrow(
      expect.objectContaining({ where: "$.WorkloadSecretOverlap" }),
    );
  },
);
