import { generateKeyPairSync } from "node:crypto";
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toHex } from "../bytes/encode.ts";
import { type KeyPair, spki, spkiDigest } from "../pki/keys.ts";
import { createCliDeployment, type Ended } from "./cli-deployment.ts";
import type { Program } from "./programs.ts";

/**
 * A host has a genuine Coordinator enforce a deployment's very manifest, with a seed that the host knows: it sets a first
 * manifest of its own, whose owner it is, and then the deployment's. Who verifies for the first time has no pin.
 */

const ADDRESS = "127.48.0.1";
const deployment = createCliDeployment(ADDRESS);
const pair = (): KeyPair => generateKeyPairSync("rsa", { modulusLength: 2048 });
const host = { owner: generateKeyPairSync("ec", { namedCurve: "P-256" }), seedshareOwner: pair() };
const hostKey = join(deployment.directory, "host.pem");

let coordinator: Program;

beforeAll(async () => {
  expect((await deployment.generate()).code).toBe(0);
  writeFileSync(hostKey, host.owner.privateKey.export({ type: "pkcs8", format: "pem" }));
  coordinator = await deployment.startCoordinator("state");
  const manifest = deployment.read("manifest.json");
  deployment.editManifest((made) => {
    made["WorkloadOwnerKeyDigests"] = [toHex(spkiDigest(host.owner.publicKey))];
    made["SeedshareOwnerPubKeys"] = [toHex(spki(host.seedshareOwner.publicKey))];
  });
  expect((await deployment.contrast("set")).code).toBe(0);
  writeFileSync(deployment.file("manifest.json"), manifest);
  expect((await deployment.contrast("set", "--workload-owner-key", hostKey)).code).toBe(0);
}, 60_000);

afterAll(async () => {
  await deployment.stop(coordinator);
  await deployment.remove();
});

/** In a workspace that has the deployment's files, and has met no Coordinator. */
async function newcomer(name: string, command: string, ...args: string[]): Promise<Ended> {
  const workspace = join(deployment.directory, name);
  if (!existsSync(workspace)) {
    mkdirSync(workspace);
    for (const file of ["manifest.json", "workload-owner.pem"]) cpSync(deployment.file(file), join(workspace, file));
  }
  return deployment.contrastIn(workspace, command, ...args);
}

const key = toHex(spkiDigest(host.seedshareOwner.publicKey));

test("verify refuses it, names who may know the seed, and pins nothing", async () => {
  const refused = await newcomer("data owner", "verify");
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("seed_known_to_others") as string });
  expect(refused.stderr).toContain("manifest 1 of 2");
  expect(refused.stderr).toContain(key);
  expect(existsSync(join(deployment.directory, "data owner", "pinned.json"))).toBe(false);
  const another = await newcomer("data owner", "verify", "--former-seedshare-owner", "ab".repeat(32));
  expect(another).toMatchObject({ code: 3 });
}, 60_000);

test("so does set by an owner who has not met the deployment", async () => {
  const refused = await newcomer("workload owner", "set", join(deployment.directory, "deployment"));
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("seed_known_to_others") as string });
}, 60_000);

test("who knows that owner accepts him by name, and is not asked again", async () => {
  const accepted = await newcomer("friend", "verify", "--former-seedshare-owner", key);
  expect(accepted).toMatchObject({ code: 0 });
  expect(await newcomer("friend", "verify")).toMatchObject({ code: 0 });
}, 60_000);

test("after a rekey nobody of before knows the seed", async () => {
  expect((await deployment.contrast("rekey")).code).toBe(0);
  expect(await newcomer("later", "verify")).toMatchObject({ code: 0 });
}, 60_000);
