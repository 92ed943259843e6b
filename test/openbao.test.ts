import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCliDeployment } from "./cli-deployment.ts";
import { bao, type BaoServer, HAS_OPENBAO, NO_OPENBAO, startBao } from "./openbao.ts";
import type { Program } from "./programs.ts";

/** OpenBao, the real one, unseals itself by the Coordinator's transit port. The tests go on from one another. */

const ADDRESS = "127.44.20.1";
const BAO = "127.44.20.2:8300";
const deployment = createCliDeployment(ADDRESS);
const { contrast, file } = deployment;
const volume = (name: string): string => join(deployment.directory, name);

let coordinator: Program;
const servers: BaoServer[] = [];

function start(certificates: string, key = "vault_unsealing"): BaoServer {
  const server = startBao(volume("bao"), BAO, { address: ADDRESS, key, certificates: volume(certificates) });
  servers.push(server);
  return server;
}

/** As `kill -9`: at once, without a word. */
async function kill(server: BaoServer): Promise<void> {
  server.child.kill("SIGKILL");
  await server.exited;
}

const client = { BAO_ADDR: `http://${BAO}` };

async function status(): Promise<Readonly<Record<string, unknown>>> {
  const { output } = await bao(["status", "-format=json"], client);
  return JSON.parse(output) as Readonly<Record<string, unknown>>;
}

const name = (text: string): string => (HAS_OPENBAO ? text : `${text}: ${NO_OPENBAO}`);

beforeAll(async () => {
  if (!HAS_OPENBAO) return;
  const source = readFileSync(join(deployment.directory, "deployment/web.yml"), "utf8");
  const vault = source
    .replaceAll(/\bweb\b/g, "vault")
    .replace(/annotations:/, "annotations:\n        contrast.edgeless.systems/workload-secret-id: vault_unsealing");
  writeFileSync(join(deployment.directory, "deployment/vault.yml"), vault);
  const { code } = await deployment.generate();
  expect(code).toBe(0);
  coordinator = await deployment.startCoordinator("state");
  expect((await contrast("set")).code).toBe(0);
  await deployment.enroll("vault", "vault");
  await deployment.enroll("web", "web");
}, 60_000);

afterAll(async () => {
  for (const server of servers) await kill(server);
  await deployment.remove();
});

test.skipIf(!HAS_OPENBAO)(name("init, kill, restart: it is unsealed by itself"), async () => {
  const first = start("vault");
  await first.says("==> OpenBao server started!").catch(() => undefined);
  console.log(first.output().slice(-3000));
  console.log(await bao(["operator", "init", "-format=json"], client));
  console.log(await status());
});
