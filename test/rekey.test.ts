import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { spkiDigest } from "../pki/keys.ts";
import { createCliDeployment, type Ended } from "./cli-deployment.ts";
import type { Program } from "./programs.ts";

/** A new seed and root CA, with the programs as people run them. The tests go on from one another. */

const ADDRESS = "127.44.0.2";
const deployment = createCliDeployment(ADDRESS);
const { contrast, file, read, result } = deployment;
/** The workspace of somebody who verifies, and sets nothing. */
const others = join(deployment.directory, "of somebody else");

let coordinator: Program;

const keyOf = (pem: string): string => toHex(spkiDigest(new X509Certificate(pem).publicKey));
const rootKey = (): string => keyOf(read("coordinator-root-ca.pem"));
const refused = (code: string, exit: number) => ({ code: exit, stderr: expect.stringContaining(code) as string });

const other = async (command: string, ...args: string[]): Promise<Ended> =>
  deployment.contrastIn(others, command, ...args);

const theirs = (name: string): string => readFileSync(join(others, name), "utf8");

/** The files of a pod that starts now. */
async function secretsOf(volume: string): Promise<Readonly<Record<string, string>>> {
  await deployment.enroll(volume);
  const directory = join(deployment.directory, volume);
  const names = readdirSync(directory).filter((name) => name.startsWith("workload-secret-seed"));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name), "utf8")]));
}

beforeAll(async () => {
  expect((await deployment.generate()).code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  expect(await contrast("rekey")).toMatchObject(refused("no_manifest", 5));
  expect((await contrast("set")).code).toBe(0);
  cpSync(file("."), others, { recursive: true });
  expect((await other("verify")).code).toBe(0);
}, 60_000);

afterAll(() => deployment.remove());

test("a rekey is one command for a single owner, and earlier secrets are readable while the manifest says so", async () => {
  const [first, root] = [await secretsOf("first"), rootKey()];
  expect(first["workload-secret-seed.1"]).toBe(first["workload-secret-seed"]);
  deployment.editManifest((manifest) => (manifest["WorkloadSecretOverlap"] = "1h"));
  const rekeyed = await result("rekey");
  expect(rekeyed).toMatchObject({
    result: "rekeyed",
    "root CA key": rootKey(),
    warnings: ["a rekey makes all workload secrets new; the earlier ones can be read for 60 minutes more"],
    next: "restart the workloads: root CA, mesh CA and workload secrets are new",
  });
  expect(rootKey()).not.toBe(root);
  const second = await secretsOf("second");
  expect(Object.keys(second).sort()).toEqual([
    "workload-secret-seed",
    "workload-secret-seed.1",
    "workload-secret-seed.2",
  ]);
  expect(second["workload-secret-seed.1"]).toBe(first["workload-secret-seed"]);
  expect(second["workload-secret-seed.2"]).toBe(second["workload-secret-seed"]);
  expect(second["workload-secret-seed"]).not.toBe(first["workload-secret-seed"]);

  // A manifest without the window closes it.
  deployment.editManifest((manifest) => delete manifest["WorkloadSecretOverlap"]);
  expect((await contrast("set")).code).toBe(0);
  const { "workload-secret-seed": current, ...versions } = await secretsOf("second");
  expect(current).toBe(second["workload-secret-seed"]);
  expect(versions).toEqual({ "workload-secret-seed.2": current });
}, 60_000);

test("who has pinned the deployment before goes along, and is told; who knows the root CA alone does not", async () => {
  cpSync(file("manifest.json"), join(others, "manifest.json"));
  const [pin, root] = [theirs("pinned.json"), theirs("coordinator-root-ca.pem")];
  rmSync(join(others, "pinned.json"));
  expect(await other("verify")).toMatchObject(refused("another_deployment", 3));
  // A pin of another place than the history has, with the right root CA key.
  const { Transition: _, ...rest } = JSON.parse(pin) as Record<string, string>;
  writeFileSync(join(others, "pinned.json"), JSON.stringify({ Transition: "ab".repeat(32), ...rest }));
  expect(await other("verify")).toMatchObject(refused("pin_mismatch", 3));
  expect(theirs("coordinator-root-ca.pem")).toBe(root);

  writeFileSync(join(others, "pinned.json"), pin);
  const verified = await other("verify");
  expect(verified).toMatchObject({
    code: 0,
    stderr: expect.stringContaining("owners rekeyed the deployment") as string,
  });
  const owner = execFileSync("openssl", ["pkey", "-in", file("workload-owner.pem"), "-pubout", "-outform", "DER"]);
  const key = execFileSync("openssl", ["dgst", "-sha256", "-r"], { input: owner }).toString().slice(0, 64);
  expect(verified.stdout).toContain(`manifest 2: a rekey: a new seed, a new root CA (key ${rootKey()})`);
  expect(verified.stdout).toContain(`which the workload owner ${key} allowed`);
  for (const name of ["coordinator-root-ca.pem", "seed-shares.json", "pinned.json"]) {
    expect(theirs(name), name).toBe(read(name));
  }
  expect((await other("verify")).stderr).not.toContain("rekeyed");
}, 60_000);

test("owners sign a rekey elsewhere, with openssl, and the public key is enough to carry it", async () => {
  expect((await contrast("verify")).code).toBe(0);
  const before = rootKey();
  expect(await contrast("sign", "--rekey")).toMatchObject(refused("contrast rekey --prepare", 2));
  const prepared = await result("rekey", "--prepare");
  expect(prepared["new root CA key"]).not.toBe(before);
  expect(await result("rekey", "--prepare")).toMatchObject({ "new root CA key": prepared["new root CA key"] });
  // A seed share owner may have it prepared, too: some workload owners' keys make no connection.
  const byShareOwner = ["--workload-owner-key", file("seedshare-owner.pem")];
  expect(await result("rekey", "--prepare", ...byShareOwner)).toMatchObject({
    "new root CA key": prepared["new root CA key"],
  });
  const stranger = join(deployment.directory, "stranger.pem");
  execFileSync("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", stranger]);
  expect(await contrast("rekey", "--prepare", "--workload-owner-key", stranger)).toMatchObject(refused("not_owner", 3));

  expect((await contrast("sign", "--rekey", "--prepare")).code).toBe(0);
  const publicKey = join(deployment.directory, "owner.pub");
  const key = file("workload-owner.pem");
  execFileSync("openssl", ["pkey", "-in", key, "-pubout", "-out", publicKey]);
  const signature = file("transition.sig");
  execFileSync("openssl", ["dgst", "-sha256", "-sign", key, "-out", signature, file("transition.tbs")]);
  const carry = ["--signature", signature, "--workload-owner-key", publicKey];
  expect(await contrast("set", ...carry)).toMatchObject(refused("bad_signature", 3));
  const prepare = read("rekey.json");
  writeFileSync(file("rekey.json"), prepare.replace(String(prepared["new root CA key"]), "ab".repeat(32)));
  expect(await contrast("rekey", ...carry)).toMatchObject(refused("bad_signature", 3));
  writeFileSync(file("rekey.json"), prepare);
  expect(await result("rekey", ...carry)).toMatchObject({ "root CA key": prepared["new root CA key"] });
  expect(rootKey()).toBe(prepared["new root CA key"]);

  // What was prepared is used up, and signs nothing more.
  expect(await contrast("sign", "--rekey")).toMatchObject(refused("another generation", 2));
  expect(await contrast("rekey", ...carry)).toMatchObject(refused("bad_signature", 3));
}, 90_000);

test("a seed that was prepared before a restart is gone, and recovery takes the new shares", async () => {
  expect((await contrast("verify")).code).toBe(0);
  expect((await contrast("rekey", "--prepare")).code).toBe(0);
  expect((await contrast("sign", "--rekey")).code).toBe(0);
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  const old = await other("recover");
  expect(old).toMatchObject(refused("wrong_seed", 3));
  expect(old.stderr).toContain("an earlier share of this owner: manifest 4 came with a new seed");
  // With the new shares and the pin of before, the rekey in between is found in the history.
  cpSync(file("seed-shares.json"), join(others, "seed-shares.json"));
  const pin = theirs("pinned.json");
  expect(await other("recover")).toMatchObject({ code: 0 });
  expect(theirs("pinned.json")).toBe(pin);
  expect(keyOf(theirs("coordinator-root-ca.pem"))).toBe(rootKey());
  const late = await contrast("rekey", "--signature", file("transition.sig"));
  expect(late).toMatchObject(refused("signature_outdated", 3));
  expect((await contrast("verify")).code).toBe(0);
  expect((await contrast("rekey")).code).toBe(0);
  expect(Object.keys(await secretsOf("last")).sort()).toEqual(["workload-secret-seed", "workload-secret-seed.4"]);

  const log = JSON.stringify([coordinator.log, coordinator.text]);
  for (const secret of Object.values(await secretsOf("last"))) expect(log).not.toContain(secret);
  expect(existsSync(file("rekey.json"))).toBe(true);
}, 90_000);

test.each([
  ["files with --prepare", ["--prepare", "deployment"]],
  ["a signature with --prepare", ["--prepare", "--signature", "some.sig"]],
  ["two keys with --prepare", ["--prepare", "--workload-owner-key", "a.pem", "--workload-owner-key", "b.pem"]],
])("rekey with %s is refused with exit code 2", async (_name, args) => {
  expect(await contrast("rekey", ...args)).toMatchObject({ code: 2 });
});
