import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { createCliDeployment } from "./cli-deployment.ts";
import { bao, type BaoServer, HAS_OPENBAO, NO_OPENBAO, startBao } from "./openbao.ts";

/** What becomes of an OpenBao's seal when the deployment gets a new seed. The tests go on from one another. */

const ADDRESS = "127.44.20.3";
const BAO = "127.44.20.4:8300";
const KEY = "vault_unsealing";
const deployment = createCliDeployment(ADDRESS);
const { contrast } = deployment;
const volume = (name: string): string => join(deployment.directory, name);
const data = volume("bao/data");
const before = volume("data of before");
const client = { BAO_ADDR: `http://${BAO}` };
const name = (text: string): string => (HAS_OPENBAO ? text : `${text}: ${NO_OPENBAO}`);
const servers: BaoServer[] = [];
let enrolled = 0;

/** Starts it with certificates of what is in force. */
async function start(): Promise<BaoServer> {
  const certificates = `certificates ${enrolled++}`;
  await deployment.enroll(certificates, "vault");
  const server = startBao(volume("bao"), BAO, { address: ADDRESS, key: KEY, certificates: volume(certificates) });
  servers.push(server);
  return server;
}

async function kill(server: BaoServer): Promise<void> {
  server.child.kill("SIGKILL");
  await server.exited;
}

async function unsealsItself(): Promise<void> {
  const server = await start();
  await server.says("post-unseal setup complete");
  const { output } = await bao(["status", "-format=json"], client);
  expect(JSON.parse(output)).toMatchObject({ initialized: true, sealed: false });
  // What it does with its keys, it does once it is the active one.
  await expect.poll(async () => (await fetch(`http://${BAO}/v1/sys/health`)).status, { timeout: 20_000 }).toBe(200);
  await kill(server);
}

const editTransit = (versions: object): void =>
  deployment.editManifest((manifest) => {
    const policies = Object.values(manifest["Policies"] as Record<string, Record<string, unknown>>);
    const vault = policies.find(({ WorkloadSecretID }) => WorkloadSecretID === KEY);
    if (vault !== undefined) vault["Transit"] = versions;
  });

beforeAll(async () => {
  if (!HAS_OPENBAO) return;
  const source = readFileSync(join(deployment.directory, "deployment/web.yml"), "utf8");
  const vault = source
    .replaceAll(/\bweb\b/g, "vault")
    .replace(/annotations:/, `annotations:\n        contrast.edgeless.systems/workload-secret-id: ${KEY}`);
  writeFileSync(join(deployment.directory, "deployment/vault.yml"), vault);
  expect((await deployment.generate()).code).toBe(0);
  await deployment.startCoordinator("state");
  expect((await contrast("set")).code).toBe(0);
  const server = await start();
  await server.says("OpenBao server started!");
  expect((await bao(["operator", "init"], client)).code).toBe(0);
  await kill(server);
  cpSync(data, before, { recursive: true });
}, 60_000);

afterEach(async () => {
  for (const server of servers.splice(0)) await kill(server);
});

afterAll(() => deployment.remove());

test.skipIf(!HAS_OPENBAO)(name("within the window it unseals itself by the earlier seed"), async () => {
  deployment.editManifest((manifest) => (manifest["WorkloadSecretOverlap"] = "1h"));
  expect((await contrast("rekey")).code).toBe(0);
  await unsealsItself();
});

test.skipIf(!HAS_OPENBAO)(
  name("another latest version makes it encrypt its root key anew, at its next start"),
  async () => {
    editTransit({ LatestVersion: 2 });
    expect((await contrast("set")).code).toBe(0);
    await unsealsItself();
    // So neither the version nor the seed of before is needed any more.
    editTransit({ LatestVersion: 2, MinimumVersion: 2 });
    deployment.editManifest((manifest) => delete manifest["WorkloadSecretOverlap"]);
    expect((await contrast("set")).code).toBe(0);
    await unsealsItself();
  },
);

test.skipIf(!HAS_OPENBAO)(name("what was not encrypted anew is lost when the window is over"), async () => {
  editTransit({ LatestVersion: 2, MinimumVersion: 1 });
  expect((await contrast("set")).code).toBe(0);
  rmSync(data, { recursive: true });
  cpSync(before, data, { recursive: true });
  const server = await start();
  await server.says("cipher: message authentication failed");
  expect(JSON.parse((await bao(["status", "-format=json"], client)).output)).toMatchObject({ sealed: true });
});
