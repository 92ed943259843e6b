import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { MeshAPI } from "../api/meshapi_pb.ts";
import { openSimulatedAttester } from "../attestation/simulated/attester.ts";
import { podSpecs } from "../cli/generate/test-workspace.ts";
import { ChannelClient } from "../channel/client.ts";
import { askInForce, enroll } from "../initializer/enroll.ts";
import { generateEcKey } from "../pki/keys.ts";
import { createCliDeployment } from "./cli-deployment.ts";
import { type Program, startProgram } from "./programs.ts";

/**
 * Secrets from an owner's command to the files of a pod that runs: `generate` writes the pod, whose Initializer is started with
 * the variables that the file then has, beside a Coordinator. The tests go on from one another.
 */

const ADDRESS = "127.43.17.1";
const deployment = createCliDeployment(ADDRESS);
const volume = join(deployment.directory, "volume");
const web = join(deployment.directory, "deployment", "web.yml");
const WAIT = { timeout: 60_000, interval: 200 };
const MARK = "hunter2";
let variables: Readonly<Record<string, string>>;
let keeper: Program;
const running: Program[] = [];

function initializer(): Program {
  const program = startProgram(["initializer/main.ts", "keep"], {
    ...variables,
    COORDINATOR_HOST: ADDRESS,
    CONTRAST_SIMULATED_TEE_DIR: deployment.file("simulated-tee/web"),
    CONTRAST_TLS_CONFIG_DIR: volume,
  });
  running.push(program);
  return program;
}

async function secret(...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> {
  return deployment.result("secret", ...args);
}

async function set(name: string, value: string | Buffer, ...args: readonly string[]): Promise<void> {
  const file = join(deployment.directory, "value");
  writeFileSync(file, value);
  await secret("set", name, "--from-file", file, ...args);
}

const read = (name: string): string => readFileSync(join(volume, name), "utf8");
const secrets = (): string[] => readdirSync(join(volume, "secrets")).toSorted();

function annotate(annotations: Readonly<Record<string, string>>): void {
  const documents = parseAllDocuments(readFileSync(web, "utf8"));
  for (const document of documents) {
    if (document.get("kind") !== "Deployment") continue;
    for (const [name, value] of Object.entries(annotations)) {
      document.setIn(["metadata", "annotations", `contrast.edgeless.systems/${name}`], value);
    }
  }
  writeFileSync(web, documents.map(String).join(""));
}

beforeAll(async () => {
  annotate({ renew: "true", "secret-template-app.json": '{"price":"$(5)$$","pw":{{ secret "db" | json }}}' });
  expect((await deployment.generate()).code).toBe(0);
  const { env } = podSpecs(readFileSync(web, "utf8")).web.initContainers[0] as {
    env: { name: string; value?: string }[];
  };
  // Those of the mesh close ports, which this machine has others behind.
  const told = env.filter(({ name }) => !/INGRESS|ADMIN/.test(name));
  variables = Object.fromEntries(told.map(({ name, value = "" }) => [name, value]));
  expect(Object.keys(variables)).toContain("CONTRAST_SECRET_TEMPLATES");
  await deployment.startCoordinator("state");
  await deployment.result("set");
  await deployment.result("verify");
}, 90_000);

afterAll(async () => {
  for (const { child, exited, log, text } of running) {
    child.kill("SIGKILL");
    await exited;
    expect([...log.map((line) => JSON.stringify(line)), ...text].join("\n")).not.toContain(MARK);
  }
  await deployment.remove();
});

test("a pod waits for the secret of its template, and starts when an owner has set it", async () => {
  keeper = initializer();
  const line = await keeper.line("waiting: secret_missing");
  expect(line.msg).toContain("template app.json, got nothing for db");
  expect(existsSync(join(volume, "key.pem"))).toBe(false);
  await set("others", `${MARK} others`, "--for", "workload:somebody else");
  await set("db", `${MARK} "1"\n`, "--for", "web");
  await keeper.line("certificates written");
  expect(secrets()).toEqual(["app.json", "db", "db@1", "workload-secret-seed"]);
  expect(read("secrets/db")).toBe(`${MARK} "1"\n`);
  expect(JSON.parse(read("secrets/app.json"))).toEqual({ price: "$(5)$$", pw: `${MARK} "1"\n` });
  expect(read("secrets/workload-secret-seed")).toMatch(/^[0-9a-f]{64}$/);
}, 90_000);

test("another version comes without a restart, the one before stays beside it, and the mesh CA is the same", async () => {
  const mesh = read("mesh-ca.pem");
  await set("db", `${MARK} 2`);
  await expect.poll(() => read("secrets/db"), WAIT).toBe(`${MARK} 2`);
  expect(read("secrets/db@1")).toBe(`${MARK} "1"\n`);
  expect(JSON.parse(read("secrets/app.json"))).toMatchObject({ pw: `${MARK} 2` });
  expect(read("mesh-ca.pem")).toBe(mesh);
  await set("db", `${MARK} 3`, "--revoke");
  await expect.poll(() => secrets(), WAIT).toEqual(["app.json", "db", "db@3", "workload-secret-seed"]);
}, 90_000);

test("a change of others' secrets leaves the pod's as they are", async () => {
  await set("others", `${MARK} others 2`);
  const { log } = keeper;
  const renewals = log.filter(({ msg }) => msg === "certificates renewed").length;
  // The annex is another one: it asks once, and gets the same.
  await expect.poll(() => log.filter(({ msg }) => msg === "certificates renewed").length, WAIT).toBe(renewals + 1);
  expect(secrets()).toEqual(["app.json", "db", "db@3", "workload-secret-seed"]);
}, 90_000);

test("a secret that is removed is gone from the pod, the file made of it stays, and certificates are renewed", async () => {
  const chain = read("certChain.pem");
  await secret("rm", "db");
  await keeper.line("the file stays as it is: secret_missing");
  await expect.poll(() => secrets(), WAIT).toEqual(["app.json", "workload-secret-seed"]);
  expect(JSON.parse(read("secrets/app.json"))).toMatchObject({ pw: `${MARK} 3` });
  expect(read("certChain.pem")).not.toBe(chain);
  // Set anew it has a number of its own.
  await set("db", `${MARK} 4`, "--for", "web");
  await expect.poll(() => JSON.parse(read("secrets/app.json")) as unknown, WAIT).toMatchObject({ pw: `${MARK} 4` });
  expect(secrets()).toEqual(["app.json", "db", "db@4", "workload-secret-seed"]);
}, 120_000);

test("another manifest keeps the secrets", async () => {
  deployment.editManifest((manifest) => {
    const policies = Object.values(manifest["Policies"] as Record<string, { SANs: string[] }>);
    policies.find(({ SANs }) => SANs.includes("web"))?.SANs.push("more.example");
  });
  const mesh = read("mesh-ca.pem");
  await deployment.result("set");
  await expect.poll(() => read("mesh-ca.pem"), WAIT).not.toBe(mesh);
  expect(read("secrets/db")).toBe(`${MARK} 4`);
}, 90_000);

test("who shows no evidence learns the digest of the annex, and no secret", async () => {
  const keys = await generateEcKey("P-256");
  const now = (): Date => new Date();
  const { annex } = await askInForce(`${ADDRESS}:7777`, keys, now);
  expect(annex).toMatch(/^[0-9a-f]{64}$/);
  const attester = await openSimulatedAttester(deployment.file("simulated-tee/web"));
  const response = await enroll(`${ADDRESS}:7777`, attester, keys, now);
  expect(Buffer.from(response.annex).toString("hex")).toBe(annex);
  const stranger = new ChannelClient({ target: `${ADDRESS}:7777`, keys, handshakeMs: 20_000 });
  try {
    const asked = stranger.call(MeshAPI.method.newMeshCert, {}, new Date(Date.now() + 20_000));
    await expect(asked).rejects.toMatchObject({ code: "evidence_missing" });
  } finally {
    stranger.close();
  }
}, 60_000);
