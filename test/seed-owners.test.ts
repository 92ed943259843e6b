import { generateKeyPairSync } from "node:crypto";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { type KeyPair, spki } from "../pki/keys.ts";
import { createCliDeployment, type Ended } from "./cli-deployment.ts";
import type { Program } from "./programs.ts";

/** Seed share owners who come and go, with the programs as people run them. The tests go on from one another. */

const ADDRESS = "127.44.0.1";
const deployment = createCliDeployment(ADDRESS);
const owners = [1, 2, 3].map((): KeyPair => generateKeyPairSync("rsa", { modulusLength: 2048 }));
const hexOf = (index: number): string => toHex(spki((owners[index] as KeyPair).publicKey));
const key = (index: number): string => join(deployment.directory, `owner-${index}.pem`);
const others = join(deployment.directory, "of another owner");

let coordinator: Program;

/** In the workspace of an owner who sets no manifest. */
const other = async (command: string, ...args: string[]): Promise<Ended> =>
  deployment.contrastIn(others, command, ...args);

const recover = (command: typeof other, owner: number): Promise<Ended> =>
  command("recover", "--seedshare-owner-key", key(owner));

beforeAll(async () => {
  for (const [index, { privateKey }] of owners.entries()) {
    writeFileSync(key(index), privateKey.export({ type: "pkcs8", format: "pem" }));
  }
  const add = [key(0), key(1)].flatMap((path) => ["--add-seedshare-owner-key", path]);
  expect((await deployment.generate(...add, "--seedshare-threshold", "2")).code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  expect((await deployment.contrast("set")).code).toBe(0);
  cpSync(deployment.file("."), others, { recursive: true });
}, 60_000);

afterAll(() => deployment.remove());

test("set replaces an owner, writes the new shares and says who keeps the seed", async () => {
  const before = deployment.read("seed-shares.json");
  const { secret } = await deployment.enroll("before");
  deployment.editManifest((manifest) => (manifest["SeedshareOwnerPubKeys"] = [hexOf(0), hexOf(2)]));
  const result = await deployment.result("set");
  expect(result["warnings"]).toEqual([
    expect.stringMatching(/other seed share owners.*whoever had 2 of the shares before keeps it for ever.*rekey/),
  ]);
  const after = deployment.read("seed-shares.json");
  const keysOf = (text: string): string[] =>
    (JSON.parse(text) as { SeedShares: { PublicKey: string }[] }).SeedShares.map(({ PublicKey }) => PublicKey);
  expect(keysOf(before)).toEqual([hexOf(0), hexOf(1)]);
  expect(keysOf(after)).toEqual([hexOf(0), hexOf(2)]);
  expect((await deployment.enroll("after")).secret).toBe(secret);
  const { timeline } = await deployment.result("verify");
  expect(timeline).toContainEqual({
    generation: 2,
    level: "warning",
    code: "changed_seed_share_owner",
    text: expect.stringContaining("any 2 of the 2 owners before keep it for ever") as string,
  });
}, 60_000);

test("after a restart the new owners recover, and who has old shares is told so", async () => {
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  cpSync(deployment.file("manifest.json"), join(others, "manifest.json"));
  const old = await recover(other, 0);
  expect(old).toMatchObject({ code: 3, stderr: expect.stringContaining("wrong_seed") as string });
  expect(old.stderr).toContain("an earlier share of this owner: manifest 2 has other seed share owners");
  const removed = await recover(other, 1);
  expect(removed).toMatchObject({ code: 3, stderr: expect.stringContaining("not_seedshare_owner") as string });
  expect(removed.stderr).toContain("who was one before a `set` named others is none any more");

  for (const [owner, text] of [
    [0, "share accepted"],
    [2, "recovered"],
  ] as const) {
    expect(await recover(deployment.contrast, owner)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(text) as string,
    });
  }
}, 60_000);

test("verify takes another owner's workspace to the new shares, and the pin with them", async () => {
  const pinOf = (): { Transition: string } => JSON.parse(readFileSync(join(others, "pinned.json"), "utf8"));
  const before = pinOf();
  const shares = readFileSync(join(others, "seed-shares.json"), "utf8");
  // Not while it finds anything wrong.
  const manifest = readFileSync(join(others, "manifest.json"));
  writeFileSync(join(others, "manifest.json"), Buffer.concat([manifest, Buffer.from("\n")]));
  expect(await other("verify")).toMatchObject({ code: 3 });
  expect(readFileSync(join(others, "seed-shares.json"), "utf8")).toBe(shares);
  expect(pinOf()).toEqual(before);

  writeFileSync(join(others, "manifest.json"), manifest);
  expect(await other("verify")).toMatchObject({ code: 0 });
  expect(readFileSync(join(others, "seed-shares.json"), "utf8")).toBe(deployment.read("seed-shares.json"));
  expect(pinOf().Transition).not.toBe(before.Transition);

  // An owner who never had any gets none but those of the verify folder, and recovers with these.
  rmSync(join(others, "seed-shares.json"));
  expect(await other("verify")).toMatchObject({ code: 0 });
  expect(existsSync(join(others, "seed-shares.json"))).toBe(false);
  await deployment.stop(coordinator);
  coordinator = await deployment.startCoordinator("state");
  for (const owner of [2, 0]) expect(await recover(other, owner)).toMatchObject({ code: 0 });
  expect(await deployment.contrast("verify")).toMatchObject({ code: 0 });
}, 90_000);
