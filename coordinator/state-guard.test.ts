import {
  constants,
  createHash,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
  randomBytes,
  X509Certificate,
} from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { spki, spkiDigest } from "../pki/keys.ts";
import { type SetRequest, StateGuard } from "./state-guard.ts";
import { FileStore, RECORD_KINDS } from "./store.ts";

/** On a real directory, with real keys; the Coordinator's restart is a second StateGuard on the same directory. */

const policy = Buffer.from("the policy of a pod");
const policyDigest = createHash("sha256").update(policy).digest("hex");
const otherPolicy = Buffer.from("the policy of another pod");
const owner = "a".repeat(64);
const seedshareOwner = generateKeyPairSync("rsa", { modulusLength: 2048 });
const now = (): Date => new Date("2026-06-01T00:00:00Z");

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "state-test-"));
});

afterEach(() => rm(directory, { recursive: true }));

async function load(allowInsecure = true): Promise<StateGuard> {
  const store = await FileStore.open(directory);
  return StateGuard.load({ store, allowInsecure, now, random: randomBytes });
}

function request(
  changes: Partial<SetRequest> & { owners?: string[]; seedshareOwners?: KeyObject[]; names?: string[] } = {},
) {
  const { owners = [owner], seedshareOwners = [seedshareOwner.publicKey], names = ["web"], ...rest } = changes;
  const manifest = {
    Policies: { [policyDigest]: { SANs: names, WorkloadSecretID: "web" } },
    ReferenceValues: { insecure: [{ RootDigest: "0".repeat(64), TrustedMeasurement: "0".repeat(96) }] },
    WorkloadOwnerKeyDigests: owners,
    SeedshareOwnerPubKeys: seedshareOwners.map((key) => spki(key).toString("hex")),
  };
  return {
    manifest: Buffer.from(JSON.stringify(manifest)),
    policies: [policy],
    latestTransition: undefined,
    callerKey: owner,
    ...rest,
  };
}

async function firstSet(guard: StateGuard): Promise<{ seed: Buffer; salt: Buffer }> {
  const { seedShares } = await guard.set(request());
  const [share] = seedShares?.shares ?? [];
  if (seedShares === undefined || share === undefined) throw new Error("no seed share");
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const key = { key: seedshareOwner.privateKey, padding, oaepHash: "sha256", oaepLabel: Buffer.from("seedshare") };
  return { seed: privateDecrypt(key, share.encryptedSeed), salt: seedShares.salt };
}

function publicKeyOf(pem: string): string {
  return spkiDigest(new X509Certificate(pem).publicKey).toString("hex");
}

test("without a manifest there is nothing to serve", async () => {
  const guard = await load();
  expect(guard.phase).toBe("empty");
  expect(() => guard.active()).toThrow(expect.objectContaining({ code: "no_manifest" }));
});

test("the first set makes a seed that its owner can read, and needs no owner's key", async () => {
  const guard = await load();
  const { seedShares } = await guard.set(request({ callerKey: "b".repeat(64) }));
  expect(guard.phase).toBe("active");
  expect(seedShares?.shares.map((share) => share.publicKey)).toEqual([spki(seedshareOwner.publicKey)]);
});

test("every set makes a new mesh CA, and keeps the root key and the workload secrets", async () => {
  const guard = await load();
  const { snapshot: before } = await guard.set(request());
  const { snapshot: after, seedShares } = await guard.set(request({ names: ["web", "203.0.113.34"] }));
  expect(publicKeyOf(after.authority.rootCa)).toBe(publicKeyOf(before.authority.rootCa));
  expect(publicKeyOf(after.authority.meshCa)).not.toBe(publicKeyOf(before.authority.meshCa));
  expect(after.seed.workloadSecret("web").reveal()).toEqual(before.seed.workloadSecret("web").reveal());
  expect(after.generation).toBe(2);
  expect(seedShares).toBeUndefined();
});

test("the intermediate CA and the mesh CA share one key, and the intermediate is signed by the root", async () => {
  const guard = await load();
  const { authority } = (await guard.set(request())).snapshot;
  const root = new X509Certificate(authority.rootCa);
  const intermediate = new X509Certificate(authority.intermediateCa);
  const mesh = new X509Certificate(authority.meshCa);
  expect(publicKeyOf(authority.intermediateCa)).toBe(publicKeyOf(authority.meshCa));
  expect(intermediate.subject).toBe(mesh.subject);
  expect(intermediate.checkIssued(root) && intermediate.verify(root.publicKey)).toBe(true);
  expect(mesh.checkIssued(mesh) && mesh.verify(mesh.publicKey)).toBe(true);
});

test.each([
  ["a key that is no owner's", { callerKey: "b".repeat(64) }, "not_owner"],
  ["another latest transition", { latestTransition: Buffer.alloc(32) }, "conflict"],
  ["a transition of the wrong length", { latestTransition: Buffer.alloc(31) }, "conflict"],
  ["a policy too few", { policies: [] }, "policy_mismatch"],
  ["a policy too many", { policies: [policy, otherPolicy] }, "policy_mismatch"],
  ["other seed share owners", { seedshareOwners: [] }, "seedshare_owners_changed"],
  ["a malformed manifest", { manifest: Buffer.from("{") }, "invalid_manifest"],
] as const)("a set with %s is refused and changes nothing", async (_name, changes, code) => {
  const guard = await load();
  const { snapshot } = await guard.set(request());
  await expect(guard.set(request({ ...changes } as never))).rejects.toMatchObject({ code });
  expect(guard.active()).toBe(snapshot);
});

test("a manifest without owners can't be replaced", async () => {
  const guard = await load();
  await guard.set(request({ owners: [] }));
  await expect(guard.set(request())).rejects.toMatchObject({ code: "immutable" });
});

test("a manifest that trusts a software TEE needs a Coordinator that allows it", async () => {
  const guard = await load(false);
  await expect(guard.set(request())).rejects.toMatchObject({ code: "insecure_not_allowed" });
  expect(guard.phase).toBe("empty");
});

test("of two sets that expect the same latest transition, one wins", async () => {
  const guard = await load();
  const { snapshot } = await guard.set(request());
  const latestTransition = Buffer.from(snapshot.latest.transition, "hex");
  const results = await Promise.allSettled([1, 2, 3].map(() => guard.set(request({ latestTransition }))));
  expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected", "rejected"]);
});

test("a restarted Coordinator serves nothing until it has the seed", async () => {
  const { seed, salt } = await firstSet(await load());
  const guard = await load();
  expect(guard.phase).toBe("recovery");
  expect(() => guard.active()).toThrow(expect.objectContaining({ code: "needs_recovery" }));
  await expect(guard.set(request())).rejects.toMatchObject({ code: "needs_recovery" });
  await guard.recover(seed, salt, false);
  expect(guard.phase).toBe("active");
});

test("recovery brings back root key, secrets and manifest, and makes a new mesh CA", async () => {
  const first = await load();
  const { seed, salt } = await firstSet(first);
  const before = first.active();
  const after = await (await load()).recover(seed, salt, false);
  expect(publicKeyOf(after.authority.rootCa)).toBe(publicKeyOf(before.authority.rootCa));
  expect(publicKeyOf(after.authority.meshCa)).not.toBe(publicKeyOf(before.authority.meshCa));
  expect(after.seed.workloadSecret("web").reveal()).toEqual(before.seed.workloadSecret("web").reveal());
  expect(after.manifestDigest).toBe(before.manifestDigest);
  expect(after.generation).toBe(1);
});

test.each([
  ["another seed", (seed: Buffer, salt: Buffer) => [randomBytes(seed.length), salt] as const],
  ["another salt", (seed: Buffer, salt: Buffer) => [seed, randomBytes(salt.length)] as const],
  ["a short seed", (seed: Buffer, salt: Buffer) => [seed.subarray(1), salt] as const],
])("recovery with %s is refused without side effects", async (_name, change) => {
  const { seed, salt } = await firstSet(await load());
  const guard = await load();
  await expect(guard.recover(...change(seed, salt), false)).rejects.toMatchObject({ code: "wrong_seed" });
  expect(guard.phase).toBe("recovery");
  await guard.recover(seed, salt, false);
});

test("an active Coordinator recovers only when forced", async () => {
  const guard = await load();
  const { seed, salt } = await firstSet(guard);
  await expect(guard.recover(seed, salt, false)).rejects.toMatchObject({ code: "not_in_recovery" });
  await guard.recover(seed, salt, true);
  await expect(guard.recover(randomBytes(32), salt, true)).rejects.toMatchObject({ code: "wrong_seed" });
  expect(guard.phase).toBe("active");
});

test("the history holds every manifest, oldest first, and the policies they list", async () => {
  const guard = await load();
  await guard.set(request());
  await guard.set(request({ names: ["web", "www"] }));
  const { records, policies } = await guard.history();
  expect(records.map(({ manifest }) => manifest)).toEqual([
    request().manifest,
    request({ names: ["web", "www"] }).manifest,
  ]);
  expect(policies).toEqual([policy]);
});

test("a flipped bit in any record is reported by the record's name", async () => {
  const { seed, salt } = await firstSet(await load());
  const files = ["latest"];
  for (const kind of RECORD_KINDS)
    files.push(...(await readdir(join(directory, kind))).map((name) => `${kind}/${name}`));
  expect(files).toHaveLength(4);
  for (const file of files.filter((name) => name !== "latest")) {
    const path = join(directory, file);
    const bytes = await readFile(path);
    await writeFile(path, Buffer.from(bytes.map((byte, index) => (index === 0 ? byte ^ 1 : byte))));
    const guard = await load();
    const read = guard.recover(seed, salt, false).then(() => guard.history());
    await expect(read).rejects.toMatchObject({ code: "damaged_state", where: expect.stringContaining(file) });
    await writeFile(path, bytes);
  }
});

test("no secret is in any file of the state", async () => {
  const guard = await load();
  const { seed } = await firstSet(guard);
  const secret = guard.active().seed.workloadSecret("web").reveal();
  const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  expect(files).toHaveLength(4);
  for (const file of files) {
    const bytes = await readFile(join(file.parentPath, file.name));
    for (const needle of [seed, secret]) {
      expect(bytes.includes(needle) || bytes.includes(needle.toString("hex"))).toBe(false);
    }
  }
});
