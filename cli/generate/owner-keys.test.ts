import { createHash, createPublicKey, generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { refusal } from "../../kubernetes/test-files.ts";
import { WEB, RSA, EC, pem, workspace } from "./test-workspace.ts";

test("makes the owners' keys where there are none, readable by their owner only", async () => {
  const { run, dir, manifest, read } = await workspace({ "web.yml": WEB });
  for (const name of ["workload-owner.pem", "seedshare-owner.pem"]) await unlink(join(dir, name));
  const { changedFiles } = await run();
  const { WorkloadOwnerKeyDigests, SeedshareOwnerPubKeys } = await manifest();
  const workload = createPublicKey(await read("workload-owner.pem"));
  const seedshare = createPublicKey(await read("seedshare-owner.pem"));
  expect(workload.asymmetricKeyDetails).toMatchObject({ namedCurve: "secp384r1" });
  expect(seedshare.asymmetricKeyDetails).toMatchObject({ modulusLength: 4096 });
  const digest = createHash("sha256")
    .update(workload.export({ type: "spki", format: "der" }))
    .digest("hex");
  expect(WorkloadOwnerKeyDigests).toEqual([digest]);
  expect(SeedshareOwnerPubKeys).toEqual([seedshare.export({ type: "spki", format: "der" }).toString("hex")]);
  for (const name of ["workload-owner.pem", "seedshare-owner.pem"]) {
    expect(await read(name)).toContain("BEGIN PRIVATE KEY");
    expect((await stat(join(dir, name))).mode & 0o777).toBe(0o600);
    expect(changedFiles).toContain(join(dir, name));
  }
  expect((await run()).changedFiles).toEqual([]);
});

test.for([0o000, 0o377])("gives the keys mode 0600 under the umask %o, and never replaces them", async (umask) => {
  const { run, dir, read } = await workspace({ "web.yml": WEB });
  await unlink(join(dir, "workload-owner.pem"));
  const before = process.umask(umask);
  onTestFinished(() => void process.umask(before));
  await run();
  process.umask(before);
  expect((await stat(join(dir, "workload-owner.pem"))).mode & 0o777).toBe(0o600);
  const key = await read("workload-owner.pem");
  await unlink(join(dir, "manifest.json"));
  await run();
  expect(await read("workload-owner.pem")).toBe(key);
});

test("takes the owners' keys that it is given, public or private, and makes none", async () => {
  const { run, dir, manifest, write } = await workspace({ "web.yml": WEB });
  for (const name of ["workload-owner.pem", "seedshare-owner.pem"]) await unlink(join(dir, name));
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await write("a.pem", pem(EC.privateKey));
  await write("b.pem", pem(other.publicKey));
  await write("c.pem", pem(RSA.publicKey));
  await run({ workloadOwnerKeys: [join(dir, "a.pem"), join(dir, "b.pem")], seedshareOwnerKeys: [join(dir, "c.pem")] });
  expect((await manifest()).WorkloadOwnerKeyDigests).toEqual(
    [EC.publicKey, other.publicKey].map((key) =>
      createHash("sha256")
        .update(key.export({ type: "spki", format: "der" }))
        .digest("hex"),
    ),
  );
  expect((await readdir(dir)).toSorted()).toEqual(["a.pem", "app", "b.pem", "c.pem", "manifest.json"]);
});

test("a manifest that names owners gets no others by itself", async () => {
  const { run, dir, manifest, write } = await workspace({ "web.yml": WEB });
  for (const name of ["workload-owner.pem", "seedshare-owner.pem"]) await unlink(join(dir, name));
  await write("a.pem", pem(EC.publicKey));
  await write("c.pem", pem(RSA.publicKey));
  await run({ workloadOwnerKeys: [join(dir, "a.pem")], seedshareOwnerKeys: [join(dir, "c.pem")] });
  const before = await manifest();
  expect((await run()).changedFiles).toEqual([]);
  expect(await manifest()).toEqual(before);
  expect(existsSync(join(dir, "seedshare-owner.pem"))).toBe(false);
});

test("lets nobody change the manifest where updates are disabled", async () => {
  const { run, dir, manifest } = await workspace({ "web.yml": WEB });
  await run();
  await unlink(join(dir, "workload-owner.pem"));
  await run({ disableUpdates: true });
  expect((await manifest()).WorkloadOwnerKeyDigests).toEqual([]);
  expect(existsSync(join(dir, "workload-owner.pem"))).toBe(false);
});

/** A curve by its parameters in place of its name: no signature of such a key counts. */
const SPELLED_OUT = generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" });

test.for([
  ["is missing", undefined, "unreadable_file", "ENOENT"],
  ["is of another kind", pem(RSA.privateKey), "invalid_key", "a key of another kind (rsa)"],
  ["spells its curve out", pem(SPELLED_OUT.privateKey), "invalid_key", "a key of another kind (ec)"],
  [
    "is no key",
    "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
    "invalid_key",
    "no key in PEM without a passphrase",
  ],
])("refuses an owner's key that %s, and shows nothing of it", async ([, text, code, got]) => {
  const { run, dir, write } = await workspace({ "web.yml": WEB });
  if (text !== undefined) await write("key.pem", text);
  const error = await refusal(run({ workloadOwnerKeys: [join(dir, "key.pem")] }));
  expect(error).toMatchObject({ code, where: join(dir, "key.pem"), got });
  expect(error.cause).toBe(code === "invalid_key" ? undefined : error.cause);
  expect(error.describe()).not.toContain("c2VjcmV0");
});

test("writes how many seed share owners it takes, and keeps it", async () => {
  const { run, dir, manifest, read, write } = await workspace({ "web.yml": WEB });
  const keys = ["a.pem", "b.pem"].map((name) => join(dir, name));
  await write("a.pem", pem(RSA.publicKey));
  await write("b.pem", pem(generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey));
  await run({ seedshareOwnerKeys: keys, seedshareThreshold: 2 });
  expect(Object.keys(await manifest()).slice(-4, -2)).toEqual(["SeedshareOwnerPubKeys", "SeedshareThreshold"]);
  const before = await read("manifest.json");
  expect((await manifest()).SeedshareThreshold).toBe(2);
  await run({ seedshareOwnerKeys: keys });
  expect(await read("manifest.json")).toBe(before);
  await run({ seedshareOwnerKeys: keys, seedshareThreshold: 1 });
  expect(await manifest()).not.toHaveProperty("SeedshareThreshold");
});

test("refuses to need more seed share owners than there are, and names both numbers", async () => {
  const { run, read } = await workspace({ "web.yml": WEB });
  await run();
  const before = await read("manifest.json");
  expect(await refusal(run({ seedshareThreshold: 2 }))).toMatchObject({
    code: "threshold_too_high",
    where: "--seedshare-threshold",
    got: "2, with 1 key",
    want: "at most 1, or more of --add-seedshare-owner-key",
  });
  expect(await read("manifest.json")).toBe(before);
});

test("writes how many workload owners a change needs, keeps it, and drops it with the owners", async () => {
  const { run, dir, manifest, read, write } = await workspace({ "web.yml": WEB });
  const keys = ["a.pem", "b.pem"].map((name) => join(dir, name));
  await write("a.pem", pem(EC.publicKey));
  await write("b.pem", pem(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey));
  expect(await refusal(run({ workloadOwnerKeys: keys, workloadOwnerThreshold: 3 }))).toMatchObject({
    code: "threshold_too_high",
    where: "--workload-owner-threshold",
    got: "3, with 2 keys",
    want: "at most 2, or more of --workload-owner-key",
  });
  await run({ workloadOwnerKeys: keys, workloadOwnerThreshold: 2 });
  expect(Object.keys(await manifest()).slice(2, 4)).toEqual(["WorkloadOwnerKeyDigests", "WorkloadOwnerThreshold"]);
  const before = await read("manifest.json");
  await run();
  expect(await read("manifest.json")).toBe(before);
  await run({ workloadOwnerThreshold: 1 });
  expect(await manifest()).not.toHaveProperty("WorkloadOwnerThreshold");
  await run({ workloadOwnerThreshold: 2 });
  expect(await refusal(run({ disableUpdates: true, workloadOwnerThreshold: 2 }))).toMatchObject({
    code: "threshold_too_high",
    got: "2, with 0 keys",
  });
  await run({ disableUpdates: true });
  expect(await manifest()).not.toHaveProperty("WorkloadOwnerThreshold");
});
